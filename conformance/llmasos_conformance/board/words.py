"""What pages about reports say in their own words, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from llmasos_conformance.reading import Standing
from llmasos_conformance.verdict import State

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "report": "Conformance report",
        "board": "Conformance board",
        "skip": "To the text",
        "sections": "Sections",
        "other": "This page in English",
        "all reports": "All reports",
        "verdict": "Verdict",
        "candidate": "Candidate",
        "profile": "Profile",
        "claims": "Claims",
        "bundle": "Model",
        "endpoint": "Endpoint",
        "endpoint said": "{} of {}. The verdict is about what it answered in this run; nobody could look at its model.",
        "endpoint digest": "Endpoint, digest of its description",
        "signer": "Signer",
        "checked": "Verified",
        "unchecked": "Not verified",
        "precision": "Precision",
        "precision said": "{} claimed, arithmetic of {} found",
        "claimed": "Claimed",
        "found": "Found",
        "coarser": "coarser than any",
        "not measured": "not measured",
        "grade": "Share of the bound",
        "grade said": (
            "{}. The largest error of the cases of numbers (NUM), as a part of what is allowed: above 1 is a failure, "
            "and other honest orders of computation stay below 0.5."
        ),
        "no number": "no number",
        "run": "Run",
        "run said": "{} to {}, {} s with everything around it",
        "asked said": "asked {} times, {} s until the answers were there",
        "outcomes": "Outcomes",
        "of which emulated": "{} used behaviour that the adapter adds, marked with *",
        "causes": "What the failures have in common",
        "causes said": (
            "Failures are compared with those of known bugs; those that resemble one stand together, with how many of "
            "the failures are the same. No verdict rests on it."
        ),
        "explains": "Would explain {} failures. They resemble those of known bugs:",
        "explains one": "Would explain 1 failure. It resembles that of known bugs:",
        "begin": "Begin with",
        "unexplained": "Explained by no known bug",
        "failures": "Not right",
        "failures none": "Nothing: every case that was asked was answered rightly.",
        "failures said": "{} cases, by requirement.",
        "failures said one": "1 case.",
        "address": "ADDRESS stands for the address of your adapter.",
        "directory": "DIR stands for the directory of the model.",
        "briefly": (
            "{} more, told briefly; each is repeated by the same command with its name in the place of the other."
        ),
        "bugs": "Known bugs that also fail it",
        "expected": "Expected",
        "got": "Got",
        "effect": "What such a failure would mean for users",
        "again": "Reproduce",
        "example": "example {}",
        "fault": "Fault",
        "requirements": "Requirements by chapter",
        "requirements said": (
            "A number behind a case is the share of its bound that it used. Sentences are those of the suite that is "
            "installed where this page was made."
        ),
        "chapter": "Chapter",
        "elsewhere": "not of this suite",
        "cases": "Cases",
        "numbers": "Numbers",
        "numbers said": (
            "Each mark is a case: the largest of its errors as a share of its bound, which is a multiple of the error "
            "that honest computations in the claimed precision make."
        ),
        "strips title": "Error of each case as a share of its bound",
        "strips said": "{} cases in {} chapters; {} are beyond the bound. The largest is {}, of {}.",
        "share": "error as a share of the bound",
        "bound": "bound",
        "measured": "Measured",
        "largest": "Largest",
        "largest case": "of the case",
        "beyond": "Beyond the bound",
        "along position": "Error by position",
        "along layer": "Error by layer",
        "position": "position",
        "layer": "layer",
        "curve said": "{} places, {} of them beyond the bound; the largest is {} at {} {}. Rows measured: {}.",
        "curves said": (
            "Worked out from the recorded answers, beside the float64 reference installed where this page was made: "
            "the largest error of all rows at each place. {} of {} cases, those that failed first, then those nearest "
            "to their bound."
        ),
        "table": "The numbers",
        "samplers": "Samplers",
        "samplers said": (
            "How often each letter came in the recorded answers (bars), and how often the law that was due lets it "
            "come behind what came before it (lines). {} of {} cases, those that failed first. The test itself looks "
            "at every token."
        ),
        "bars title": "What came and what was due",
        "bars said": "{} tokens of {} letters; the largest difference is at {}: {} came, {} were due.",
        "letter": "Letter",
        "came": "Came",
        "due": "Due",
        "unseen evidence": "Not drawn: the evidence does not lie beside the report.",
        "unseen suite": "Not drawn: the questions of this run are those of another suite than the one installed here.",
        "unseen bundle": "Not drawn: that needs the model that the report is about (--bundle DIR).",
        "unseen unsigned": "Not drawn: nobody signed this run.",
        "evidence": "Evidence, and how to check it",
        "evidence said": (
            "The report binds every recorded question and answer by its digest. Who has the directory of the report "
            "can verify it, and judge every answer again:"
        ),
        "report id": "Report",
        "run id": "Run id",
        "key": "Key",
        "seed": "Seed",
        "suite": "Suite",
        "reference": "Reference",
        "harness": "Harness",
        "adapter": "Adapter",
        "evidence root": "Root of the evidence",
        "files": "Files of the model",
        "runtime": "Runtime",
        "environment": "Machine, as stated",
        "threads": "{} threads",
        "emulated": "What the adapter does for the runtime",
        "isolation": "Isolation",
        "notes": "Notes",
        "not proven": "What is not proven",
        "not verified": "Not verified",
        "not verified said": (
            "What these reports say is not shown, because they do not verify. A reason code is explained by "
            "llmasos explain."
        ),
        "refused said": "What the report says is not shown, because it does not verify.",
        "where": "Where",
        "why": "Why",
        "runs": "Runs",
        "runs none": "No report below this directory could be verified.",
        "runs said": "{} reports. {}.",
        "runs said one": "1 report. {}.",
        "copies": "also in",
        "copies more": "and {} more",
        "of them": "{}: {}",
        "matrix": "By chapter",
        "matrix said": (
            "Cases that passed of those that were judged, by chapter of the standard. A dash: nothing there was "
            "declared or could be tried. Empty: the profile asks nothing there."
        ),
        "passed of": "{} of {} passed",
        "nothing judged": "nothing judged",
        "not asked": "not asked",
        "more": "{} more on the page of the report",
        "footer": "Made by llmasos {} from suite {}.",
        "scroll": "{}, can be scrolled sideways",
        "standing": "Standing",
        "seconds": "{} s",
        "answers": "Answers",
        ":": ": ",
        ", ": ", ",
    },
    "zh": {
        "report": "合规报告",
        "board": "合规一览",
        "skip": "跳到正文",
        "sections": "各节",
        "other": "本页中文版",
        "all reports": "全部报告",
        "verdict": "结论",
        "candidate": "候选实现",
        "profile": "档案",
        "claims": "声明",
        "bundle": "模型",
        "endpoint": "端点",
        "endpoint said": "接口 {}，位于 {}。结论仅针对它在此次运行中的回答；无人能查看其模型。",
        "endpoint digest": "端点描述的摘要",
        "signer": "签名者",
        "checked": "已核验",
        "unchecked": "未核验",
        "precision": "精度",
        "precision said": "声明 {}，实测运算精度为 {}",
        "claimed": "所声明",
        "found": "所测得",
        "coarser": "比任何一种都粗",
        "not measured": "未测量",
        "grade": "占界的份额",
        "grade said": "{}。数值用例（NUM）的最大误差占允许值的份额：大于 1 即未通过，其他诚实的计算次序都在 0.5 以下。",
        "no number": "不是数",
        "run": "运行",
        "run said": "{} 至 {}，连同其余开销共 {} 秒",
        "asked said": "提问 {} 次，等待回答共 {} 秒",
        "outcomes": "结果",
        "of which emulated": "其中 {} 个用到适配器附加的行为，以 * 标出",
        "causes": "这些失败的共同之处",
        "causes said": (
            "将未通过的用例与已知缺陷的失败方式相比较，相似者归在一起，并注明相同的未通过用例所占比例。"
            "任何结论都不以此为据。"
        ),
        "explains": "若是如此，可解释 {} 个未通过的用例。其失败方式类似以下已知缺陷：",
        "explains one": "若是如此，可解释 1 个未通过的用例。其失败方式类似以下已知缺陷：",
        "begin": "先看",
        "unexplained": "没有已知缺陷能解释",
        "failures": "未达要求之处",
        "failures none": "没有：所有提问都得到了正确的回答。",
        "failures said": "共 {} 个用例，按要求排列。",
        "failures said one": "1 个用例。",
        "address": "ADDRESS 代表您的适配器的地址。",
        "directory": "DIR 代表模型所在的目录。",
        "briefly": "另有 {} 个，只作简述；将上述命令中的用例名换成其名称即可重现。",
        "bugs": "同样未通过此用例的已知缺陷",
        "expected": "应为",
        "got": "实为",
        "effect": "此类失败对使用者意味着",
        "again": "重现",
        "example": "示例 {}",
        "fault": "故障",
        "requirements": "各章要求",
        "requirements said": "用例后的数是它占其界的份额。条文取自生成本页之处所安装的测试套件。",
        "chapter": "章",
        "elsewhere": "不属于此测试套件",
        "cases": "用例",
        "numbers": "数值",
        "numbers said": (
            "每个记号是一个用例：其最大误差占其界的份额；界是以所声明的精度诚实计算时误差的若干倍。"
        ),
        "strips title": "各用例的误差占其界的份额",
        "strips said": "{} 个用例，{} 章；{} 个超出界。最大为 {}，属于 {}。",
        "share": "误差占界的份额",
        "bound": "界",
        "measured": "已测量",
        "largest": "最大",
        "largest case": "所属用例",
        "beyond": "超出界",
        "along position": "各位置的误差",
        "along layer": "各层的误差",
        "position": "位置",
        "layer": "层",
        "curve said": "{} 处，其中 {} 处超出界；最大为 {}，在{} {}。测量的行数：{}。",
        "curves said": (
            "由所记录的回答，对照生成本页之处所安装的 float64 参考实现得出：每处取所有行中的最大误差。"
            "显示 {} 个用例（共 {} 个），先列未通过者，再列最接近其界者。"
        ),
        "table": "数据",
        "samplers": "采样器",
        "samplers said": (
            "所记录的回答中各字母出现的次数（条），以及按应有的分布、在其前文之后应出现的次数（线）。"
            "显示 {} 个用例（共 {} 个），先列未通过者。检验本身逐个考察每个记号。"
        ),
        "bars title": "实际出现与应有次数",
        "bars said": "{} 个记号，{} 个字母；差别最大的是 {}：出现 {} 次，应为 {} 次。",
        "letter": "字母",
        "came": "出现",
        "due": "应为",
        "unseen evidence": "未绘制：证据不在报告旁边。",
        "unseen suite": "未绘制：此次运行的提问属于另一测试套件，并非此处所安装者。",
        "unseen bundle": "未绘制：需要报告所针对的模型（--bundle DIR）。",
        "unseen unsigned": "未绘制：此次运行无人签名。",
        "evidence": "证据及核查方法",
        "evidence said": "报告以摘要绑定所记录的每一次提问和回答。持有报告目录者可以核验它，并对每个回答重新评判：",
        "report id": "报告",
        "run id": "运行编号",
        "key": "密钥",
        "seed": "种子",
        "suite": "测试套件",
        "reference": "参考实现",
        "harness": "测试框架",
        "adapter": "适配器",
        "evidence root": "证据的根",
        "files": "模型的文件",
        "runtime": "运行时",
        "environment": "所称的机器",
        "threads": "{} 个线程",
        "emulated": "适配器代运行时所做之事",
        "isolation": "隔离",
        "notes": "注意",
        "not proven": "未能证明之事",
        "not verified": "未通过核验",
        "not verified said": "这些报告未通过核验，其内容不予显示。原因代码可用 llmasos explain 查看。",
        "refused said": "报告未通过核验，其内容不予显示。",
        "where": "位置",
        "why": "原因",
        "runs": "运行",
        "runs none": "此目录下没有可核验的报告。",
        "runs said": "{} 份报告。{}。",
        "runs said one": "1 份报告。{}。",
        "copies": "另见于",
        "copies more": "及另外 {} 处",
        "of them": "{}：{}",
        "matrix": "按章",
        "matrix said": (
            "按标准各章列出：通过的用例数与作出判定的用例数。短横表示该处均未声明或无法测试；空白表示档案不涉及该章。"
        ),
        "passed of": "{} 个通过，共 {} 个",
        "nothing judged": "均未判定",
        "not asked": "未涉及",
        "more": "另有 {} 个，见该报告的页面",
        "footer": "由 llmasos {} 依据测试套件 {} 生成。",
        "scroll": "{}，可横向滚动",
        "standing": "状态",
        "seconds": "{} 秒",
        "answers": "回答用时",
        ":": "：",
        ", ": "、",
    },
}  # fmt: skip
"""Label -> text, by language."""

STANDINGS: Mapping[str, Mapping[Standing, str]] = {
    "en": {
        Standing.VERIFIED: "verified, signer trusted",
        Standing.NO_EVIDENCE: "signer trusted, evidence not here to check",
        Standing.SIGNER_UNKNOWN: "signature checks, signer unknown",
        Standing.POLICY: "signature checks, policy not met",
        Standing.UNSIGNED: "not verified: nobody signed it",
        Standing.REFUSED: "not verified",
    },
    "zh": {
        Standing.VERIFIED: "已核验，签名者可信",
        Standing.NO_EVIDENCE: "签名者可信，证据不在此处，未核验",
        Standing.SIGNER_UNKNOWN: "签名有效，签名者不明",
        Standing.POLICY: "签名有效，不符合信任策略",
        Standing.UNSIGNED: "未通过核验：无人签名",
        Standing.REFUSED: "未通过核验",
    },
}
"""What verification made of a report -> words."""

NOT_PROVEN_ZH = (
    "未能证明：所记录的回答确为候选实现所答（持有密钥者可以在证据中任意书写）；所部署的就是所测试的；"
    "回答是计算而得，并非记忆；机器与时间如所述（这些只是签名者的说法）；在出示此报告之前进行过多少次运行。"
)

MARKS: Mapping[State, str] = {
    State.PASS: "✓", State.FAIL: "✗", State.ERROR: "!", State.INCONCLUSIVE: "?", State.NOT_RUN: "–",
    State.NOT_DECLARED: "–", State.NOT_APPLICABLE: "–", State.WAIVED: "–",
}  # fmt: skip
"""State -> sign; the word always stands beside it."""
