"""What the pages say in their own words, in English and Chinese.

The standard's sentences come from the ledger. Here is what stands around them: headings, labels, the meaning of levels
and outcomes, and the glossary, whose English half is the table of words in suites/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES: Mapping[str, tuple[str, str]] = {"en": ("en", "English"), "zh": ("zh-Hans", "中文")}
"""Language -> its tag in HTML, and its own name."""

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "The LLMasOS standard",
        "subtitle": "An open standard for large language models",
        "version": "Version",
        "suite": "suite",
        "contents": "Contents",
        "chapter": "Chapter",
        "chapters": "Chapters",
        "cases": "Cases",
        "cases of": "Cases: {}",
        "checks": "Checks",
        "profiles": "Profiles",
        "profile": "Profile",
        "capabilities": "Capabilities and architectures",
        "runs bundles": "runs bundles of the architecture {}",
        "words": "Words",
        "meaning": "Meaning",
        "all": "All chapters",
        "number": "{} requirements",
        "one": "1 requirement",
        "untestable": "Untestable",
        "untestable because": "No case tests this",
        "untestable intro": "These sentences hold, and no case can test them in this version. Each says why.",
        "source": "Source",
        "withdrawn since": "Withdrawn in {}",
        "instead": "Instead",
        "withdrawn cases": "Withdrawn cases",
        "erratum": "Reworded in {}",
        "was": "It read",
        "changed": "Withdrawn and reworded",
        "asks": "Asks",
        "needs": "Needs",
        "given": "Given",
        "inputs": "Inputs drawn",
        "fails": "If it fails",
        "listed in": "Listed in",
        "no profile": "no profile",
        "run": "Run it",
        "found": "Found",
        "demands": "Demanded by",
        "next": "Next",
        "previous": "Previous",
        "skip": "To the text",
        "place": "This place in {}",
        "needs all": "requires",
        "key": "Key",
        "default": "Default",
        "used by": "Used by",
        "number of cases": "{} cases",
        "one case": "1 case",
        "runs": "Runs",
        "one run": "Run",
        "verdict": "Verdict",
        "report": "Report",
        "checked": "Checked",
        "unchecked": "Not checked",
        "exercised": "Judged",
        "reading": "How to read it",
        "reading text": (
            "Each requirement is one sentence with an id that is never given to another. Below it stand the source, "
            "which names the place in the document that the standard began from or the reason for a choice that it "
            "left open, and the cases that test it. A case leads to what it asks, what it needs and what its failure "
            "does to users. Nothing here was written for this page: sentences come from the ledger and cases from the "
            "suites, which are the standard; the pages show them."
        ),
        "coverage text": (
            "The marks beside cases are what the reports below emitted. A case without a mark was in no profile of "
            "these runs, and a requirement is called passed or failed only where a run judged it."
        ),
        "made by": "Made by llmasos {} from suite {}.",
        "english only": "",
        ":": ": ",
        " ": " ",
        "and": ", ",
        "(": " (",
        ")": ")",
    },
    "zh": {
        "title": "LLMasOS 标准",
        "subtitle": "面向大语言模型的开放标准",
        "version": "版本",
        "suite": "测试套件",
        "contents": "目录",
        "chapter": "章",
        "chapters": "各章",
        "cases": "用例",
        "cases of": "用例：{}",
        "checks": "检查",
        "profiles": "档案",
        "profile": "档案",
        "capabilities": "能力与架构",
        "runs bundles": "运行架构为 {} 的模型包",
        "words": "术语",
        "meaning": "含义",
        "all": "全部各章",
        "number": "{} 条要求",
        "one": "1 条要求",
        "untestable": "不可测试",
        "untestable because": "没有用例检验此条",
        "untestable intro": "下列条文有效，但本版中没有用例能够检验；每条都说明了原因。",
        "source": "来源",
        "withdrawn since": "已于 {} 撤回",
        "instead": "替代",
        "withdrawn cases": "已撤回的用例",
        "erratum": "于 {} 改写",
        "was": "原文",
        "changed": "撤回与勘误",
        "asks": "检查内容",
        "needs": "所需能力",
        "given": "给定数据",
        "inputs": "抽取的输入数",
        "fails": "若未通过",
        "listed in": "列入档案",
        "no profile": "未列入任何档案",
        "run": "运行",
        "found": "结果",
        "demands": "所属要求",
        "next": "下一章",
        "previous": "上一章",
        "skip": "跳到正文",
        "place": "此处的{}版",
        "needs all": "要求具备",
        "key": "键",
        "default": "默认值",
        "used by": "使用者",
        "number of cases": "{} 个用例",
        "one case": "1 个用例",
        "runs": "运行",
        "one run": "运行",
        "verdict": "结论",
        "report": "报告",
        "checked": "已核查",
        "unchecked": "未核查",
        "exercised": "已判定",
        "reading": "如何阅读",
        "reading text": (
            "每条要求是一句话，带有一个永不另作他用的编号。其下是来源，即标准所依据的原始文档中的位置，或对其未作规定之处"
            "所作选择的理由；再下是检验它的用例。每个用例都说明检查什么、需要哪些能力，以及未通过时对使用者的影响。"
            "本页没有另写任何规定：条文来自台账，用例来自测试套件，标准即由二者构成，页面只是展示。"
        ),
        "coverage text": (
            "用例旁的标记是下列报告所给出的结果。没有标记的用例不在这些运行的档案之中；只有在运行中作出判定的要求，"
            "才称为通过或未通过。"
        ),
        "made by": "由 llmasos {} 依据测试套件 {} 生成。",
        "english only": "检查说明与数据保留英文原文。",
        ":": "：",
        " ": "",
        "and": "，",
        "(": "（",
        ")": "）",
    },
}  # fmt: skip
"""Label -> text, by language."""

LEVELS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {
        "MUST": ("MUST", "an implementation that fails it does not conform"),
        "SHOULD": ("SHOULD", "there may be good reasons to do otherwise; a failure is shown and does not decide"),
        "MAY": ("MAY", "an implementation is free to do it or not"),
    },
    "zh": {
        "MUST": ("必须", "不满足的实现即不符合标准"),
        "SHOULD": ("应当", "可以有充分理由不这样做；未通过会如实列出，但不决定结论"),
        "MAY": ("可以", "实现可自行取舍"),
    },
}
"""Level -> its word and what it means, by language."""

VERDICTS: Mapping[str, Mapping[str, str]] = {
    "en": {"conformant": "conformant", "non_conformant": "non-conformant", "incomplete": "incomplete"},
    "zh": {"conformant": "符合", "non_conformant": "不符合", "incomplete": "不完整"},
}
"""Verdict -> word, by language."""

CAPABILITIES_ZH: Mapping[str, str] = {
    "load_model": "打开测试套件所写的模型包目录",
    "tokenize": "文本与编号互相转换",
    "forward": "给出一批编号序列在每个位置的 logits",
    "session": "带显式缓存的增量解码：打开、延长、分叉、关闭",
    "generate_ids": "由编号生成编号",
    "batch": "一次贪心调用处理多个提示",
    "score": "给定序列中每个记号的对数概率",
    "stream": "分段给出文本",
    "stop": "停止串",
    "seed": "可重现的采样",
    "gumbel": "以标准规定的噪声采样",
    "top_k": "top-k 过滤",
    "top_p": "核过滤",
    "min_p": "min-p 过滤",
    "logit_bias": "加到各编号 logit 上的数",
    "repetition_penalty": "对提示与文本中编号的惩罚，以倍数计",
    "frequency_penalty": "对所生成编号的惩罚，按出现次数累计",
    "presence_penalty": "对所生成编号的惩罚，只计一次",
    "logprobs": "所生成记号的对数概率",
    "beams": "束搜索",
    "encode": "编码器的隐藏状态与池化输出",
    "fill_mask": "编码器在掩码处填入的内容",
    "hidden_states": "进入第一个模块以及离开每个模块的状态",
    "attention": "每一层的注意力权重",
    "gradients": "编号序列的损失，及其对模型包中每个张量的梯度",
    "train_step": "一步梯度下降",
}
"""What a capability is, in Chinese; one that is missing is shown in English, as the protocol has it."""

WORDS: Mapping[str, tuple[str, str, str]] = {
    "requirement": (
        "one normative sentence, in English and Chinese, with an id, a level (MUST, SHOULD, MAY) and a source",
        "要求",
        "一句规范性条文，以英文和中文书写，带有编号、级别（必须、应当、可以）和来源",
    ),
    "ledger": (
        "all requirements: `requirements/`, a file for each chapter",
        "台账",
        "全部要求：`requirements/`，每章一个文件",
    ),
    "suite": ("a YAML file of cases", "测试套件", "由用例组成的 YAML 文件"),
    "case": (
        "one thing to try: an id, the requirement it tests, the check that judges it, and the check's data",
        "用例",
        "一次尝试：编号、所检验的要求、作出评判的检查，以及检查所用的数据",
    ),
    "check": (
        "a question to the candidate and a judge of its answers, in Python",
        "检查",
        "向候选实现提出的问题，以及对其回答的评判，用 Python 写成",
    ),
    "candidate": ("the implementation under test", "候选实现", "被测试的实现"),
    "capability": (
        "something optional that a candidate declares, and is then held to in full",
        "能力",
        "可选的功能；候选实现一经声明，即须完全做到",
    ),
    "vector": ("a case whose input and answer stand in it", "向量", "输入和答案都写在其中的用例"),
    "example": ("one drawn input of a case that draws", "示例", "抽取输入的用例所抽到的一个输入"),
    "effect": ("what a failure does to users", "影响", "未通过时对使用者造成的后果"),
    "profile": ("a frozen list of case ids", "档案", "冻结的用例编号列表"),
    "probe": (
        "a small model that makes one kind of fault loud; `llmasos_conformance.probes`",
        "探针",
        "使某一类错误显露出来的小模型；`llmasos_conformance.probes`",
    ),
    "speaker": (
        "a small model that is made to say something, so that the answer to a request is known beforehand",
        "发言模型",
        "为说出特定内容而制作的小模型，因此请求的答案事先已知",
    ),
    "small document": (
        "the valid model.json that cases of the format edit",
        "小文档",
        "格式用例所修改的那个有效 model.json",
    ),
    "adapter": (
        "the object or process through which a candidate is called",
        "适配器",
        "调用候选实现时所经过的对象或进程",
    ),
    "reference": (
        "the implementation `llmasos` in float64, which defines the behaviour that is due",
        "参考实现",
        "float64 的实现 `llmasos`，它规定应有的行为",
    ),
    "claim": (
        "what a candidate says of its precision and determinism, and is held to",
        "声明",
        "候选实现对自身精度和确定性的说明，并据此接受检验",
    ),
    "honest error": (
        "the error that an ordinary computation in the claimed precision makes against float64",
        "诚实误差",
        "以所声明的精度正常计算时相对于 float64 的误差",
    ),
    "bound": (
        "the multiple of the honest error within which two numbers count as equal",
        "界",
        "诚实误差的若干倍；两数之差在此之内即视为相等",
    ),
    "refusal": (
        "a typed no: an error with one of the codes that the standard names, such as invalid_argument",
        "拒绝",
        "带类型的否定回答：标准所列代码之一的错误，如 invalid_argument",
    ),
    "outcome": (
        "what became of a case: pass, fail, error, not declared, and so on",
        "结果",
        "用例的结局：通过、未通过、出错、未声明等",
    ),
    "verdict": (
        "what a run amounts to: conformant, non-conformant or incomplete",
        "结论",
        "一次运行的归结：符合、不符合或不完整",
    ),
}  # fmt: skip
"""Word -> meaning in English, word and meaning in Chinese."""
