"""The sentences of the page of conflicts, in English and Japanese."""

from __future__ import annotations

from e2lm.messages import Catalogue

say = Catalogue(
    "e2lm_merge",
    {
        "heading": "Where do these models conflict?",
        "answer": (
            "Of {layers} {layers:plural layer|layers}, {severe} conflict severely (one difference was kept), {partial} "
            "in part (a difference was pruned), and {none} not by more than {z:g} standard {z:plural error|errors}."
        ),
        "after": "On {items} {items:plural item|items} of {task} that took no part in this, the merge is {words}.",
        "better": "better than the fine-tune alone by {gain:.4f} ({low:.4f} to {high:.4f})",
        "worse": "worse than the fine-tune alone by {loss:.4f} ({low:.4f} to {high:.4f})",
        "open": "not told from the fine-tune alone ({low:+.4f} to {high:+.4f})",
        "conflict_title": "γ: what a layer gives alone, less in the merge",
        "layer": "layer",
        "conflict_axis": "γ ({unit})",
        "conflict_description": "γ of every layer and task, with 95 % intervals over items",
        "no_conflict": "no conflict",
        "bands": "Bands are 95 % intervals, paired by item. Above 0 a task suffers from other models in that layer.",
        "contribution_title": "What a layer gives its task, as it was compared",
        "contribution_axis": "contribution",
        "layers": "Layers, in the order in which they were settled",
        "order": "settled",
        "what": "conflict",
        "gamma_of": "γ of {task}",
        "changed": "changed",
        "nothing": "nothing",
        "with_error": "{gamma:+.5f} [± {half:.5f}]",
        "case.severe": "severe",
        "case.partial": "partial",
        "case.none": "none",
        "reported": "On items that selected nothing",
        "task": "task of",
        "base": "base",
        "own": "fine-tune",
        "merged": "merge",
        "difference": "merge less fine-tune",
        "value": "{mean:.4f} [{low:.4f}, {high:.4f}]",
        "made": "{evaluations} evaluations; scores are {unit}. e2lm merge {config}.",
    },
    {
        "ja": {
            "heading": "これらのモデルはどこで衝突しますか。",
            "answer": (
                "{layers} 層のうち、{severe} 層で深刻な衝突があり(差分を一つだけ残しました)、"
                "{partial} 層で部分的な衝突があり(差分を刈り込みました)、"
                "{none} 層では標準誤差の {z:g} 倍を超える衝突はありません。"
            ),
            "after": "選択に使わなかった {task} の {items} 項目では、マージは{words}。",
            "better": "単独のファインチューンより {gain:.4f} 良い({low:.4f}～{high:.4f})",
            "worse": "単独のファインチューンより {loss:.4f} 悪い({low:.4f}～{high:.4f})",
            "open": "単独のファインチューンと区別できません({low:+.4f}～{high:+.4f})",
            "conflict_title": "γ:層の単独での寄与とマージ内での寄与の差",
            "layer": "層",
            "conflict_axis": "γ({unit})",
            "conflict_description": "各層・各タスクの γ と、項目についての 95 % 区間",
            "no_conflict": "衝突なし",
            "bands": "帯は項目ごとに対にした 95 % 区間です。0 より上では、その層の他のモデルがタスクを損ないます。",
            "contribution_title": "層のタスクへの寄与(比較に使った値)",
            "contribution_axis": "寄与",
            "layers": "層(処理した順)",
            "order": "順",
            "what": "衝突",
            "gamma_of": "{task} の γ",
            "changed": "変更",
            "nothing": "なし",
            "with_error": "{gamma:+.5f} [± {half:.5f}]",
            "case.severe": "深刻",
            "case.partial": "部分的",
            "case.none": "なし",
            "reported": "何も選択しなかった項目での結果",
            "task": "タスク",
            "base": "ベース",
            "own": "ファインチューン",
            "merged": "マージ",
            "difference": "マージとファインチューンの差",
            "value": "{mean:.4f} [{low:.4f}, {high:.4f}]",
            "made": "評価 {evaluations} 回。スコアは {unit}。e2lm merge {config}。",
        }
    },
)
