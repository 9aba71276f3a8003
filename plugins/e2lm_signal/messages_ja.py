"""The sentences of reports and of the page of charts in Japanese."""

JAPANESE = {
    "heading": "{name} の早期シグナル",
    # -- 表の先頭の行
    "decides_best": (
        "最もよく決められるのは {task} の {metric} です。{series} 系列の対のうち {value:.0%} [{low:.0%}, {high:.0%}] "
        "が、早い段階で{end}の順序どおりに並びます。ほかに {others} 件が、これと区別できません"
    ),
    "nothing_decides": (
        "コイン投げより確かに良いと言えるタスクと指標の組はありません。首位は {task} の {metric} で、{series} "
        "系列の対のうち {value:.0%} [{low:.0%}, {high:.0%}] が、早い段階で{end}の順序どおりに並びます"
    ),
    "the_end": "学習終了時",
    "large_models": "大きなモデル",
    "outliers_found": (
        "{series} のステップ {step} は、その学習の流れに合いません（{way}、標準偏差の {score:.1f} 倍）。同様のものが"
        "ほかに {others} 件あります"
    ),
    "no_outlier": "外れ値はありません。調べた {looked} 個のチェックポイントは、いずれも標準偏差の {alarm} 倍以内です",
    "nothing_looked_at": "学習の流れと比べられるチェックポイントがありません",
    "too_good": "良すぎる",
    "too_bad": "悪すぎる",
    "how_to_read": (
        "帯は問題に関する中央 90 % 区間です。灰色の帯は、何も学ばないモデルのチェックポイントが入る範囲（偶然の水準、"
        "または最初の値に、1 チェックポイント分の雑音を加えたもの）です。タスクは早い判断が当たる順に並んでいます。点に"
        "カーソルを置くと値が読め、凡例の名前を選ぶとその線を隠せます。"
    ),
    "ordering_shows": (
        "「順序の推移」には、早い判断が最もよく当たる {shown} 組のタスクと指標を描いています。省いたものは下の表にあります："
        "{names:list}。"
    ),
    "curves_show_best": (
        "曲線は、早い判断が最もよく当たる {shown} 組のタスクと指標について描いています。省いたものは下の表にあります："
        "{names:list}。"
    ),
    "curves_show_first": (
        "早い判断をここでは比べられないため、曲線は最初の {shown} 組のタスクと指標について描いています。省いたものは下の表に"
        "あります：{names:list}。"
    ),
    "more_names": "ほか {count} 組",
    "point": "{series}、ステップ {step}：{value} {ends}",
    "point_in_order": "{name}、ステップ {step}（{share:.0%}）：対の {value:.0%} が正しい順序",
    "point_of_decisions": "{name}：判断の正解率 {value:.3f}、SNR {snr:.1f}",
    # -- 図の下の表
    "numbers": "数値",
    "task": "タスク",
    "metric": "指標",
    "series": "系列",
    "group": "群",
    "checkpoints": "チェックポイント数",
    "first_value": "最初",
    "last_value": "最後",
    "undefined": "未定義",
    # -- 曲線
    "curves": "{task}：{metric}",
    "curves_of_some": "{task}：{metric}（{left_out} 系列は省略）",
    "billion_tokens": "10 億トークン",
    "million_tokens": "100 万トークン",
    "step": "ステップ",
    "chance": "偶然の水準",
    "null_band": "学習なしの帯",
    # -- 順序の推移と判断
    "ordering": "順序の推移",
    "ordering_of_some": "順序の推移（{left_out} 組は省略）",
    "ordering_description": "最終的な順序どおりに並ぶ系列の対の割合（学習の進行に沿って）",
    "share_of_run": "学習の進み具合（%）",
    "pairs_in_order": "最終順序どおりの対",
    "coin_toss": "コイン投げ",
    "decisions": "信号対雑音比と早い判断",
    "decisions_description": "各タスク・指標の信号対雑音比と判断の正解率",
    "snr": "SNR",
    "decision_accuracy": "判断の正解率",
    # -- 報告の結論
    "use_by_decisions": (
        "{task} を {metric} で見てください。学習の {early:.0%} の時点で、{series} 系列の対の {value:.0%} {ends} が最終的な"
        "順序どおりに並びます。"
    ),
    "no_use_by_decisions": (
        "コイン投げより確かに系列を並べられるタスクと指標の組はありません。首位は {task} の {metric} で、学習の {early:.0%} の時点で、"
        "{series} 系列の対の {value:.0%} {ends} が最終的な順序どおりに並びます。"
    ),
    "no_interval": "（区間なし）",
    "how_early": "学習の {share:.0%} 以降は、対の {settled:.0%} 以上がその順序のままです。",
    "as_good": "この系列から分かるかぎり、ほかに {count} 組が同程度かもしれません：{names}。",
    "coin_tosses": (
        "タスクと指標の {total} 組のうち {count} 組は、この系列から分かるかぎり、コイン投げと変わらない順序しか示しません："
        "{names}。"
    ),
    "use_by_quality": (
        "最もはっきり上昇するのは {task} の {metric} です。signal_quality は 1 点満点の {value:.2f}、{series} 系列のうち {sure} "
        "系列が雑音よりも確かに上昇しています（p < .05）。"
    ),
    "nothing_rises": (
        "全系列を通して上昇するタスクと指標の組はありません。下がり方が最も小さいのは {task} の {metric} で、signal_quality は -1 から 1 の"
        "うち {value:.2f}、{series} 系列のうち {sure} 系列が雑音よりも確かに上昇しています（p < .05）。"
    ),
    "nothing_surely_rises": "ただし雑音かもしれません。これだけでベンチマークを選ばないでください。",
    "no_decisions": (
        "早い段階で勝者を当てられるかどうかは、{series} 系列では分かりません。区間を出すには {least} 系列が必要です。"
    ),
    "first_by_score": "{name} の首位：{task} の {metric}。",
    "nothing_defined": "{name} はどの組でも定義されません。理由は下にあります。",
    "over_all_series": "全系列を通した値（良い順）：",
    "every_curve": "各系列（同じ順）：",
    "rows_not_shown": "… ほかに {left_out} 行。--full または --json ですべて表示します",
    "reasons_not_shown": "… ほかに {left_out} 件の理由。--full または --json ですべて表示します",
}
