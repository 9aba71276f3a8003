"""The sentences of the pages of a season in Japanese."""

JAPANESE = {
    "skip": "本文へ移動",
    "ranking": "順位表",
    "status": "状況",
    "submit": "提出",
    "csv": "CSV",
    "parquet": "Parquet",
    "log": "ログ：{entries} 件、先頭 <code>{head}</code>",
    "signed": "Ed25519 署名 <code>{signature}</code>、鍵 <code>{key}</code>",
    "tab": "{page} – {season}",
    # -- 順位表
    "ranking_note": (
        "<code>{score}</code> のうち帰無値を上回る部分の順（{split}の得点、90 % 区間）。順位は、下限が自分の上限より上にある行の数に 1 を"
        "足したものです。順位が同じものは、データからは区別できません。その下は、全行について同時に 90 % の確からしさでありうる順位です。"
    ),
    "split.published": "公表済み",
    "split.public": "公開部分",
    "split.private": "非公開部分",
    "ladder_note": (
        "公開の得点は、チームが自己最高を {step} より大きく更新したときだけ動き（Ladder 規則）、ほかの得点はその刻みに丸められます。"
        "最後に決めるのは非公開の得点です。"
    ),
    "ladder_note_until": (
        "公開の得点は、チームが自己最高を {step} より大きく更新したときだけ動き（Ladder 規則）、ほかの得点はその刻みに丸められます。"
        "最後（{end}）に決めるのは非公開の得点です。"
    ),
    "hidden_note": (
        "{tokens:g} トークンより後のチェックポイントはそれまで伏せられています。それを必要とする得点は、そのときに示されます。"
    ),
    "ranking_table": "順位の表",
    "ranks": "{best}～{worst}",
    "filter": "行を絞り込む",
    "range": "図",
    "more_columns": "画面を広げると、ほかの得点も表示されます。",
    "p_below": "< {least}",
    "about": "指標 {metric}、言語 {language}、ライセンス {license}、{tier}。",
    "rank": "順位",
    "benchmark": "ベンチマーク",
    "team": "チーム",
    "score": "得点",
    "interval": "区間",
    "tries": "提出回数",
    "received": "受付",
    "none_scored": "採点された提出はまだありません。",
    "how_to_enter": (
        "参加するには：<code>e2lm leaderboard new-submission DIR</code> で出発点となるベンチマークを作り、<code>e2lm leaderboard check "
        "DIR</code> で自分のものを検査し、チームのトークンを使って送ります。"
    ),
    "taken_until": "提出の締め切りは {end} です。",
    "why_missing": "数値や区間がない理由",
    "missing": "{names} の <strong>{score}</strong>：{reason}",
    "all": "すべて",
    "some_and_more": "{names:list}、ほか {rest} 件",
    "pages": "ページ",
    "page_of": "{pages} ページ中 {page} ページ目",
    "previous": "前へ",
    "next": "次へ",
    "compare_two": "2 件を比べる",
    "first_id": "1 つ目（ID の先頭部分）",
    "second_id": "2 つ目",
    "compare": "比べる",
    "compared": "比較",
    # -- 帰無対照
    "never_moves": "曲線がまったく動きません：シグナルなし",
    "no_curve": "曲線なし",
    "no_null": "正解を引き直すと定義されません",
    "null_of": "正解を {draws} 回引き直し、{way}",
    "way.any": "どの選択肢も等しい確率",
    "way.place": "正解の位置を保つ",
    "way.length": "正解の長さを保つ",
    "way.commonness": "正解の単語のありふれ方を保つ",
    "no_improvement": "チームの最高を更新していません。数値は最後に示されます",
    "flag.not_controlled": "帰無対照なしで採点",
    "flag.not_above_null": "帰無値を上回らない",
    "flag.not_above_house": "主催者の偽物に勝てない",
    "flag.house": "主催者の偽物",
    "flag_note.not_above_null": (
        "帰無値を上回らない：正解を無作為に引いても同じ高さの得点になるため、知識については何も語りません。このような提出は、ほかの"
        "すべてより下に置かれます。"
    ),
    "flag_note.not_above_house": (
        "主催者の偽物に勝てない：区間の全体が、知識をまったく持たない主催者の提出のうち最良のものより上にあるとは言えません。"
    ),
    "flag_note.house": "主催者の偽物とは、知識をまったく問わないベンチマークを主催者が提出したもので、順位はありません。",
    "flag_note.not_controlled": (
        "帰無対照なしで採点：以前の版による採点です。採点し直されるまで、帰無値を上回る提出より下に置かれます。"
    ),
    "spark": "曲線、{first} から {last} へ",
    "team_note": "提出 {count} 件、新しい順。時刻は UTC です。",
    "log_of": "経過",
    "more_of": "{team} のすべての提出",
    "curve_numbers": "曲線の数値",
    # -- 順位を変えるのに足りるもの
    "axis.items": "項目",
    "axis.checkpoints": "チェックポイント",
    "axis.series": "系列",
    "without": "除くと順位が変わる",
    "share_of": "{axis}の {share:.2g} %",
    "more_than_half": "50 % より多く",
    "removal_note": (
        "「除くと順位が変わる」は、ほかの行をそのままにして、除けば順位が変わるその提出の項目・チェックポイント・系列の割合のうち、"
        "見つかった最小のものです。もっと少なくてすむこともあります。"
    ),
    "removal_intro": "次を除くと順位が変わります：{parts:list}。",
    "removal_none": "{axis}の 50 % より多く",
    # -- 2 件の比較
    "against": "{first} と {second} の比較",
    "who": (
        'A は {first_team} の <a href="{first_link}">{first}</a>、B は {second_team} の <a href="{second_link}">{second}</a> です。'
    ),
    "verdict.A is better": "A のほうが良い",
    "verdict.B is better": "B のほうが良い",
    "verdict.the data cannot tell them apart": "データからは区別できない",
    "not_decided": "決められません：{reason}",
    "too_few_series": "系列が {count} 本です。系列に関する検定には {least}～{most} 本が必要です",
    "without_interval": "区間のない得点があります",
    "difference": "A - B",
    "interval_90": "90 % 区間",
    "p_items": "p（問題の雑音）",
    "p_series": "p（系列の違い）",
    "series": "系列",
    "no_common_series": "両方に数値がある系列はありません。",
    # -- 提出
    "received_of": "{team} の <code>{name}</code>、{time} UTC に受付。",
    "state_of": '状態：<span class="state">{state}</span>。',
    "state_and_rank": '状態：<span class="state">{state}</span>、順位 {rank}、このチームの {tries} 回目の提出。',
    "state.queued": "待機中",
    "state.checking": "検査中",
    "state.running": "採点中",
    "state.scored": "採点済み",
    "state.refused": "不受理",
    "state.withdrawn": "取り下げ",
    "state.disqualified": "失格",
    "why": "理由",
    "remarks": "備考：{remarks}",
    "scores": "得点",
    "split": "区分",
    "value": "値",
    "note": "注記",
    "all_series": "すべて",
    "curves": "チェックポイントごとの曲線（公開の問題）",
    "tasks": "タスク",
    "task": "タスク",
    "items": "問題",
    "public": "公開",
    "choices": "選択肢",
    "samples": "標本（公開の問題）",
    "choice": "選択肢",
    "loglik_at": "対数尤度（ステップ {step}）",
    "true_choice": "{choice}（正解）",
    "environment": "環境",
    "id": "ID",
    # -- 待ち行列
    "count_of_state": "{state} {count} 件",
    "nothing_yet": "まだ何も届いていません。",
    "submissions": "提出",
    "number": "番号",
    "state": "状態",
    "since": "開始時刻",
    "newest": "{total} 件のうち新しい {shown} 件。",
    # -- 提出フォーム
    "form_note": (
        "バンドルのフォルダを zip にしたものです。先に検査してください：<code>e2lm leaderboard check DIR</code> が同じ検査を行います。"
    ),
    "token": "チームのトークン",
    "bundle": "バンドル",
    "daily_limit": "24 時間以内に {count} 件まで。不受理は数えませんが、複製は数えます。",
    "no_such_token": "このトークンを持つチームはありません。",
    "refused": "不受理：",
    # -- 図
    "chart": "{name}：{task}",
    "chart_description": "{name}：{task}：{count} 系列の {metric}（チェックポイントごと）",
    "control": "{series}（対照）",
    "chance": "偶然の水準",
    "tokens": "トークン数",
    "step": "ステップ",
    # -- ページがない理由
    "error": "{status} {phrase}",
    "phrase.Bad Request": "要求が正しくありません",
    "phrase.Not Found": "見つかりません",
    "phrase.Method Not Allowed": "この操作はできません",
    "phrase.Too Many Requests": "リクエストが多すぎます",
    "phrase.Service Unavailable": "いま利用できません",
    "back": "順位表に戻る",
    "as_sentence": "{detail}。",
    "so_many_pages": "順位表は {pages} ページまでです",
    "no_such_page": "そのようなページはありません",
    "too_large": "バンドルが大きすぎるか、その長さが示されていません",
    "too_many": "チーム {team} からの送信が多すぎます。Retry-After の秒数だけお待ちください",
    "no_database": "データベースが応答しません。何も失われていません。1 分ほどしてからもう一度お試しください",
}
