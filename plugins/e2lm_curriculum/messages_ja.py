"""The sentences of a comparison of curricula in Japanese."""

_POWER = (
    "検出力：各条件 {seeds} シードの場合、対応のない比較では、シード間標準偏差の {sd:.2f} 倍の差を 100 回の実験のうち 80 回で"
    "検出できます。"
)
_REWEIGHTING = (
    "同じ例を同じ回数だけ無作為な順序で見せた対照も同じく{word}、効果の {share:.0%} を占めます。残りについて、順序の効果は検出"
    "されません（{detectable:.3g} の効果があれば検出できました）。"
)

JAPANESE = {
    "heading": "カリキュラムはシャッフルに勝るか",
    # -- 結論
    "verdict": "{arm} と vanilla の比較、学習率 {schedule}：{word}（{parts}）。",
    "no_vanilla": "基準がないため主張しません：vanilla の条件がありません。曲線だけを示します。",
    "schedule_without": "基準がないため主張しません：学習率 {schedule} には vanilla の条件か、比べる条件がありません。",
    "verdict.better": "良い",
    "verdict.worse": "悪い",
    "verdict.mixed": "一致しない",
    "verdict.no detectable difference": "差は検出されない",
    "power": _POWER,
    "power_of_this": _POWER + "対応のあるこの比較では {seen:list} を検出できます。",
    "sees": "{measure} で {detectable:.3g}（{schedule}）",
    # -- 途中の確認
    "sequential": (
        "結論が出るまでシードを追加します。これは {look} 回目の確認で、{counts:list} シードの時点での確認を予定しています。p 値と "
        "95 % 区間はすべての確認にわたって成り立ちます。差がまったくない場合、いつ止まっても、何かを主張する比較は 100 件のうち多くても 5 件です。"
    ),
    "decided": "{seeds} シードで結論が出ました。",
    "undecided": "{seeds} シードでは結論が出ていません（学習率 {schedules:list}）。",
    "within": "{measure}（{schedule}）では、差があるとしても、意味を持つ最小の差 {smallest:g} より小さいといえます。",
    "looked_before": (
        "この比較は以前に {before:list} シードで確認されています。差がまったくない場合、これほど確認した比較のうち 100 件中最大 {percent} 件が"
        "何かを主張します。most_seeds で確認を予定すれば 5 件にとどまります。"
    ),
    # -- 列の名前
    "arm": "条件",
    "learning_rate": "学習率",
    "measure": "測定",
    "verdict_head": "結論",
    "at_end": "終了時 [95 %]",
    "mean_over_training": "学習中の平均 [95 %]",
    "measure.held-out text": "取り分けた文章",
    "unit.accuracy": "正解率",
    "unit.bits per byte": "1 バイトあたりのビット数",
    "unit.pseudo-bits per byte": "1 バイトあたりの疑似ビット数",
    "baseline.constant": "定数",
    "baseline.unigram": "ユニグラム",
    # -- vanilla との比較
    "against_vanilla": "vanilla との比較",
    "against_vanilla_note": (
        "シードと問題で対応をとっています。p 値は、この報告が主張するすべて（条件・学習率・測定・チェックポイント）にわたって "
        "Holm の方法で補正してあります。差がまったくない場合、何かを主張する報告は 100 件のうち多くても 5 件です。検出可能な差："
        "同様の実験 100 回のうち少なくとも 80 回で検出される、最も小さい真の差。"
    ),
    "difference_at_end": "終了時の差 [95 %]",
    "p_holm": "p（Holm）",
    "detectable": "検出可能な差",
    "tokens_to_score": "vanilla の終盤の値に達するトークン数",
    "over_run": "学習の経過",
    "not_reached": "達しない：{limit:.2f} 倍超",
    "reached": "{ratio:.2f} 倍 [{low}, {high}]",
    "above": "{limit:.2f} 超",
    "never_detectable": "どのチェックポイントでも差は検出されない",
    "fades": "{tokens:short} トークンから{word}、{end:short} トークンまでに消える",
    "turns": "{tokens:short} トークンから{word}、終了時は{last}",
    "lasts": "{tokens:short} トークンから{word}、最後まで続く",
    # -- 重み付けか順序か
    "why": "重み付けの効果か、順序の効果か",
    "why_note": "提示回数をそろえた対照は、カリキュラムと同じ例をまったく同じ回数だけ、無作為な順序で見ます。",
    "curriculum_minus_vanilla": "カリキュラム - vanilla",
    "reweighting_alone": "重み付けのみ",
    "order_alone": "順序のみ",
    "what_explains": "何が効果を説明するか",
    "no_effect": "説明すべき検出可能な効果がありません。",
    "cancel": "重み付けのみの効果は「{reweighting}」、順序のみの効果は「{order}」で、互いに打ち消し合います。",
    "reweighting_explains_it": "重み付けで説明できます：" + _REWEIGHTING,
    "reweighting_explains_a_part": "一部は重み付けで説明できます：" + _REWEIGHTING,
    "order_explains": (
        "順序で説明できます：提示回数をそろえた対照には vanilla との差が検出されず、カリキュラムはその対照より{word}です。"
    ),
    "both": "{reweighting}。{order}。",
    "reweighting.better": "重み付けの効果は vanilla より良い（効果の {share:.0%}）",
    "reweighting.worse": "重み付けの効果は vanilla より悪い（効果の {share:.0%}）",
    "reweighting.no detectable difference": "重み付けの効果に vanilla との差は検出されない（効果の {share:.0%}）",
    "order.better": "順序の効果は、提示回数をそろえた対照より良い",
    "order.worse": "順序の効果は、提示回数をそろえた対照より悪い",
    "order.no detectable difference": "順序の効果に、提示回数をそろえた対照との差は検出されない",
    # -- 得点と費用
    "scores": "得点",
    "higher_is_better": "{measure}：{unit}、高いほど良い、{items} 問",
    "lower_is_better": "{measure}：{unit}、低いほど良い、{items} 問",
    "step_0": "ステップ 0",
    "sd_between_seeds": "シード間標準偏差",
    "cost": "費用",
    "tokens": "トークン数",
    "different_tokens": "異なるトークン数",
    "epochs": "エポック数",
    "flops": "FLOP",
    "wall_time": "経過時間",
    "scoring": "難易度の採点（CPU）",
    # -- 図
    "over_training": "学習の経過",
    "over_training_note": "帯：95 % 区間（シードについてのスチューデントの t。差については、シードと問題の両方）。",
    "curve_title": "{measure}（学習率 {schedule}）",
    "training_tokens": "学習トークン数（対数目盛）",
    "difference_title": "{measure}：条件 - vanilla（{schedule}）",
    "above_is_better": "{unit}。0 より上が良い",
    "below_is_better": "{unit}。0 より下が良い",
    "difference_description": "{tokens:short} トークンまでの {measure} の、vanilla との差",
    "exposure": "どの例が何回使われたか",
    "exposure_note": "コーパスをカリキュラムの難易度で 10 等分し、易しい順に並べています。1 は一様な抽出の場合です。",
    "exposure_title": "難易度ごとの提示回数",
    "exposure_across": "例の 10 分の 1 ずつ（易しい順）",
    "exposure_up": "一様な抽出に対する倍率",
    # -- 作り方
    "how_made": "作成の条件",
    "made": "{params:,} パラメータ（埋め込みを除くと {without_embedding:,}）の学習 {runs} 件。{versions:list}",
    "cite": "この報告の引用",
    "citation": (
        "e2lm {version}, e2lm train compare: {curriculum} とシャッフルの比較、{params:,} パラメータ・{tokens:,} トークンの学習 {runs} 件、"
        "コーパス {corpus:list}（トークン列の SHA-256 {data}）。"
    ),
    # -- 端末
    "text_scores": "{interval}  シード間標準偏差 {sd:.4f}",
    "text_against": "vanilla との比較（シードで対応、95 %、シード x 問題。p はこの報告の主張すべてについての Holm 補正後）",
    "text_difference": "終了時の差 {interval}、p {p:.2g}、検出可能な差 {detectable:.3g}",
    "text_mean": "学習中の平均 {interval}",
    "text_tokens": "vanilla の {goal:short} での値に達するトークン数：{reached}",
    "text_course": "学習の経過：{course}",
    "text_cost": "1 回の学習の費用（シードの平均）",
    "text_cost_of": "{tokens:short} トークン（うち異なるもの {different:short}）、{flops:.3g} FLOP、{seconds:.0f} 秒",
}
