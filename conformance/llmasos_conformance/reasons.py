"""Why a report is not accepted: every reason code, the exit code it leads to, and a sentence in English and Chinese.

Codes are stable: they may become more, none changes its meaning. `llmasos explain CODE` prints an entry.
"""

from __future__ import annotations

from collections.abc import Mapping

REJECTED, MALFORMED, POLICY, NOT_CONFORMANT = 1, 2, 3, 4
"""Exit codes of `llmasos verify`; 0 is accepted and conformant."""

REASONS: Mapping[str, tuple[int, str, str]] = {
    # form
    "E_SIZE": (
        MALFORMED,
        "The file is larger than a reader must accept.",
        "文件超过读取上限。",
    ),
    "E_UTF8": (
        MALFORMED,
        "The bytes are not UTF-8.",
        "字节不是 UTF-8。",
    ),
    "E_BOM": (
        MALFORMED,
        "The file starts with a byte-order mark.",
        "文件以字节顺序标记开头。",
    ),
    "E_JSON": (
        MALFORMED,
        "The bytes are not one JSON value.",
        "内容不是单个 JSON 值。",
    ),
    "E_DUPLICATE": (
        MALFORMED,
        "A key stands twice in an object; parsers disagree on which counts.",
        "对象中有重复的键,不同解析器取值不一。",
    ),
    "E_NUMBER": (
        MALFORMED,
        "A number that not every reader holds exactly: NaN, beyond 2^53-1, or a float in signed content.",
        "存在并非所有读者都能精确表示的数。",
    ),
    "E_DEPTH": (
        MALFORMED,
        "Nested deeper than any report is.",
        "嵌套过深。",
    ),
    "E_ENVELOPE": (
        MALFORMED,
        "Not a DSSE envelope.",
        "不是 DSSE 信封。",
    ),
    "E_PAYLOAD_TYPE": (
        MALFORMED,
        "The envelope carries another type of payload.",
        "信封的载荷类型不符。",
    ),
    "E_SIGNATURE_COUNT": (
        MALFORMED,
        "An envelope has 1 to 16 signatures.",
        "信封应有 1 到 16 个签名。",
    ),
    "E_BASE64": (
        MALFORMED,
        "Base64 in a spelling that is not the canonical one.",
        "Base64 写法不规范。",
    ),
    "E_UNSIGNED": (
        MALFORMED,
        "The run was kept without a signature: interrupted, or made without a key.",
        "运行结果未签名:被中断,或未提供密钥。",
    ),
    "E_STATEMENT": (
        MALFORMED,
        "The signed content is not an in-toto Statement v1 about conformance.",
        "签名内容不是合规报告声明。",
    ),
    "E_SCHEMA": (
        MALFORMED,
        "The statement breaks the closed schema of reports.",
        "声明不符合报告的封闭模式。",
    ),
    "E_TEXT": (
        MALFORMED,
        "A text holds characters that deceive the eye: control, formatting, private, unassigned, or invisible ones.",
        "文本中含有误导视觉的字符:控制、格式、私用、未分配或不可见字符。",
    ),
    "E_CANONICAL": (
        MALFORMED,
        "The statement's bytes are not the canonical form of its content.",
        "声明的字节不是其内容的规范形式。",
    ),
    # signature and signer
    "E_SIGNATURE": (
        REJECTED,
        "No signature fits these bytes under the key it names: the content was changed, or the signature.",
        "签名与内容不符:内容或签名被改动。",
    ),
    "E_KEY": (
        REJECTED,
        "The key beside the report cannot mean one signer: low order, not canonical, or not Ed25519.",
        "报告旁的公钥不可接受。",
    ),
    "E_SIGNER_UNKNOWN": (
        POLICY,
        "Nobody that the trust file names has signed this; integrity only. --trust FILE gives a trust file, which "
        "`llmasos keygen` writes for a key of yours, and a publisher beside the reports.",
        "签名者不在信任文件中;仅能确认完整性。--trust FILE 给出信任文件："
        "`llmasos keygen` 为您的密钥写出它，发布者则把它放在报告旁边。",
    ),
    "E_KEY_NOT_YET": (
        POLICY,
        "The run started before the signer's key was valid.",
        "运行早于签名密钥的生效时间。",
    ),
    "E_KEY_EXPIRED": (
        POLICY,
        "The run finished after the signer's key had expired.",
        "运行晚于签名密钥的失效时间。",
    ),
    "E_SCOPE": (
        POLICY,
        "The signer's key may not speak about this candidate or profile.",
        "签名密钥无权就该候选实现或配置发言。",
    ),
    "E_MODE": (
        POLICY,
        "A self-test: the adapter ran inside the harness, so it certifies nothing.",
        "自测报告:不具认证效力。",
    ),
    "E_REFERENCE": (
        POLICY,
        "Made with a reference that the trust file does not accept.",
        "所用参考实现不被信任文件接受。",
    ),
    "E_HARNESS": (
        POLICY,
        "Made with a harness that the trust file does not accept.",
        "所用测试框架不被信任文件接受。",
    ),
    # substance
    "E_SUBJECT": (
        REJECTED,
        "The subject is not the digest of the candidate's record.",
        "主体摘要与候选实现记录不符。",
    ),
    "E_TIME": (
        REJECTED,
        "The run's times cannot be: no such date, an end before the start, or in the future.",
        "运行时间不可能成立。",
    ),
    "E_SUITE_DIGEST": (
        REJECTED,
        "Made with another suite than the verifier's own or an accepted one.",
        "所用测试集与验证者的不同。",
    ),
    "E_PROFILE": (
        REJECTED,
        "The profile is unknown here, or was frozen with other content.",
        "配置未知或内容不同。",
    ),
    "E_BUNDLE": (
        REJECTED,
        "A profile about one model names it, with the architecture of the profile; no other profile names one.",
        "针对自有模型的配置必须指明该模型且架构一致;其他配置不得指明模型。",
    ),
    "E_ENDPOINT": (
        REJECTED,
        "A profile of hosted models names the endpoint, with the API of the profile; no other profile names one.",
        "针对托管模型的配置必须指明端点且接口一致;其他配置不得指明端点。",
    ),
    "E_CHECK_MISSING": (
        REJECTED,
        "A case of the profile has no outcome.",
        "配置中的某个用例没有结果。",
    ),
    "E_CHECK_ADDED": (
        REJECTED,
        "An outcome belongs to no case of the profile.",
        "存在配置之外的结果。",
    ),
    "E_CHECK_DUPLICATE": (
        REJECTED,
        "A case has two outcomes.",
        "某个用例有两个结果。",
    ),
    "E_CHECK_ORDER": (
        REJECTED,
        "The outcomes are not in the profile's order.",
        "结果的顺序与配置不同。",
    ),
    "E_LEVEL": (
        REJECTED,
        "A case stands under another requirement or level than in the profile.",
        "用例的要求或级别与配置不同。",
    ),
    "E_NOT_DECLARED": (
        REJECTED,
        "'not_declared' does not fit the declared capabilities.",
        "“未声明”与所声明的能力不符。",
    ),
    "E_NOT_RUN": (
        REJECTED,
        "Cases stand as not_run although nothing that ends a run happened before them.",
        "用例标为“未运行”,但此前并无使运行终止的事件。",
    ),
    "E_ISOLATION": (
        REJECTED,
        "What the report says about isolation is not what this version of the harness writes.",
        "关于隔离的说明并非本版本测试框架所写。",
    ),
    "E_EMULATED": (
        REJECTED,
        "Emulated behaviour is not marked as the candidate declared it.",
        "模拟行为的标记与声明不符。",
    ),
    "E_WAIVED": (
        REJECTED,
        "A waiver, although this version of the programme grants none.",
        "存在豁免,而本版本不授予豁免。",
    ),
    "E_CHECKS_ROOT": (
        REJECTED,
        "checksRoot is not the root over the outcomes.",
        "checksRoot 与结果不符。",
    ),
    "E_SUMMARY": (
        REJECTED,
        "The counts are not those of the outcomes.",
        "计数与结果不符。",
    ),
    "E_VERDICT": (
        REJECTED,
        "The verdict does not follow from the outcomes.",
        "结论不能由结果推出。",
    ),
    # evidence
    "E_EVIDENCE_MISSING": (
        REJECTED,
        "The evidence file, or a case's line in it, is not there. --level suite checks what can be checked without it.",
        "缺少证据文件或其中某个用例。--level suite 核验无需证据即可核验的部分。",
    ),
    "E_EVIDENCE_SIZE": (
        REJECTED,
        "The evidence unpacks to more than a reader must accept.",
        "证据解压后过大。",
    ),
    "E_EVIDENCE_FORMAT": (
        REJECTED,
        "The evidence file is damaged, or not in its canonical form.",
        "证据文件损坏或格式不规范。",
    ),
    "E_EVIDENCE_DIGEST": (
        REJECTED,
        "A case's evidence is not the one that was signed.",
        "用例的证据与签名不符。",
    ),
    "E_EVIDENCE_CASE": (
        REJECTED,
        "Evidence for a case that has none, twice, or out of order.",
        "证据的用例不对、重复或顺序错误。",
    ),
    "E_EVIDENCE_ROOT": (
        REJECTED,
        "evidenceRoot is not the root over the evidence.",
        "evidenceRoot 与证据不符。",
    ),
    # re-judging
    "E_REJUDGE_SUITE": (
        POLICY,
        "Judging again needs the very suite of the run, which is not installed here.",
        "重新评判需要运行时的同一测试集。",
    ),
    "E_BUNDLE_ABSENT": (
        POLICY,
        "Judging again needs the bundle that the report is about: --bundle DIR.",
        "重新评判需要报告所针对的模型目录:--bundle DIR。",
    ),
    "E_BUNDLE_OTHER": (
        POLICY,
        "The bundle given to the verifier is not the one that the report is about.",
        "提供给验证者的模型目录与报告所针对的不同。",
    ),
    "E_CONVERSATION": (
        REJECTED,
        "The recorded calls are not the ones that this case asks with this seed.",
        "记录的调用与该用例及种子应有的不同。",
    ),
    "E_REJUDGE": (
        REJECTED,
        "Judged again, the recorded answers earn another outcome.",
        "重新评判得到不同的结果。",
    ),
    "E_FIGURE": (
        REJECTED,
        "Judged again, a figure differs by more than a factor of two and more than honest noise.",
        "重新评判所得数值相差超过两倍，且超出正常误差。",
    ),
    # the trust file, which is the verifier's own and never part of a report
    "E_TRUST": (
        MALFORMED,
        "The trust file breaks its schema.",
        "信任文件不符合模式。",
    ),
}
"""Reason code -> exit code, English, Chinese. Codes are stable; new ones may come."""
