"""The sentences of the view in Japanese."""

JAPANESE = {
    "sentence": "{text}。",
    "then": "。",
    "lead": "{run} が {tasks} タスクのうち {count} タスクで、区間を超えて首位です（{names:list}）",
    "lead_more": "{run} は {count} タスク（{names:list}）",
    "lead_rest": "残りの {count} タスクでは、区間を超える差はありません",
    "lead_none": (
        "{tasks} タスクのいずれでも、区間を超えて首位に立つ学習はありません。最も近いのは {task} での {run} で、差は {difference} ± "
        "{half} です"
    ),
    "alone": "{run} は {at}の時点で、{tasks} タスクのうち {count} タスク{names}で、偶然の水準を区間を超えて上回っています",
    "alone_no_chance": "{run} は {at}の時点で {tasks} タスクが採点されています。偶然の水準は分かっていません",
    "named": "（{names:list}）",
    "compared_at": (
        "{at}で、タスクごとに 1 つの指標で比べています。区間は問題を引き直した 90 % 区間で、{comparisons} 件の比較すべてに対して"
        "同時に成り立つ幅です。学習のシードが違えば、順序は変わるかもしれません。"
    ),
    "at_last_shared": "各学習に共通する最後のチェックポイント（{axis}、タスクごと）",
    "at_own_last": (
        "{count} タスク（{names:list}）は共通のチェックポイントがないため各学習自身の最後のチェックポイント、それ以外は共通する最後の"
        "チェックポイント"
    ),
    "chance_note": "区間は問題を引き直した 90 % 区間で、{comparisons} タスクすべてに対して同時に成り立つ幅です。",
    "tokens": "トークン数",
    "steps": "ステップ数",
    "after_tokens": "{count:short} トークン",
    "after_steps": "{count:,.0f} ステップ",
    "nothing": "表にはまだ得点がありません。",
    "heading": "e2lm view",
    "task": "タスク",
    "score": "{value:.3f} ± {half:.3f}",
    "chance": "偶然の水準",
    "leads": "首位",
    "beyond": "区間を超える",
    "not_beyond": "区間を超えない",
    "scores_table": "各学習の、比較できる最後の得点",
    "verdicts_table": "判定",
    "verdict.time": "時刻",
    "verdict.rule": "規則",
    "verdict.series": "学習",
    "verdict.step": "ステップ",
    "verdict.value": "値",
    "verdict.threshold": "しきい値",
    "verdict.state": "状態",
    "unread_verdicts": "verdicts.jsonl の {count} 行が読めません",
    "curves_title": "{task}：{metric}",
    "ui.axis": "横軸",
    "ui.step": "ステップ",
    "ui.token": "トークン",
    "ui.flop": "FLOP",
    "ui.log": "対数",
    "ui.smooth": "平滑化",
    "ui.bands": "90 % 区間",
    "ui.fan": "予測",
    "ui.metric": "指標",
    "ui.task": "タスク",
    "ui.filter": "タスクを探す",
    "ui.chance": "偶然の水準",
    "ui.no_fan": "予測なし：{why}",
    "ui.fan_by": "予測：{name}、90 %",
    "ui.items": "問題",
    "ui.search": "問題を検索",
    "ui.all": "すべて",
    "ui.turned_right": "正解に転じた",
    "ui.turned_wrong": "誤答に転じた",
    "ui.never_moves": "変わらない",
    "ui.wavers": "揺れている",
    "ui.item": "問題",
    "ui.shown": "{count} 問のうち {shown} 問",
    "ui.more": "さらに表示",
    "ui.no_text": "本文は記録されていません",
    "ui.no_items": "このタスクの問題はここにありません。--samples {task} でページに入れるか、--serve ですべて表示できます。",
    "ui.gold": "正解",
    "ui.loglik": "各選択肢の対数尤度（学習ステップごと）",
    "ui.sum": (
        "正しい選択肢の対数尤度が最も高いとき、その問題は正解です（同点なら先のもの）。「転じた」とは、チェックポイントの最初の "
        "4 分の 1 の大半で誤答、最後の 4 分の 1 の大半で正解、またはその逆を指します。"
    ),
    "ui.keys": ("キー：j k タスク、m 指標、a 横軸、s S 平滑化、b 区間、f 予測、l 対数、1～9 学習、/ 検索、n p 問題。"),
    "ui.gone": "サーバーは終了しました。これは最後に見えていた内容です",
}
