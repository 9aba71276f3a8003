"""The sentences of forecasts and decisions in Japanese, as one speaks to those who sign."""

JAPANESE = {
    "page": "e2lm predict {action}",
    "interval_and_method": "{low:.4f}～{high:.4f}；{method}",
    "interval": "{low:.4f}～{high:.4f}",
    "no_interval": "区間なし：{reason}",
    # -- あてはめ・検証・計画の図
    "training_flops": "学習の計算量（FLOP、6 N D）",
    "loss": "損失",
    "log_size": "log10 N",
    "data_and_fit": "{name}：データとあてはめ",
    "residuals": "残差",
    "residual_axis": "予測 / 実測 - 1（%）",
    "backtest_axis": "伏せておいた学習での 予測 / 実測 - 1（%）。灰色：90 % 区間の平均",
    "baseline": "{name}（基準）",
    "held_out": "{by} が {threshold:.3g} を超える学習を伏せた場合",
    "budget": "{flops:.1e} FLOP",
    "budget_of_plan": "{flops:.1e} FLOP（計画）",
    "size_axis": "N（パラメータ数）",
    "isoflops": "等計算量曲線。灰色：N* の区間",
    # -- 学習の終わり
    "step": "ステップ",
    "tokens": "トークン数",
    "value": "値",
    "forecast_key": "予測 {value:.4g}",
    "end_title": "{series}：最終値 {value:.4g}",
    "end_title_with_interval": "{series}：最終値 {value:.4g}（{low:.4g}～{high:.4g}）",
    "above_title": "{series} が {against} を上回って終わる確率 {probability:.0%}",
    "above": (
        "{series} が {against} を上回って終わる確率は {probability:.0%} です（現在の差 {difference:+.4g}、終了時 ± "
        "{stderr:.2g}、{checkpoints} チェックポイント、{method}）"
    ),
    "above_method": "差はこれまでと同じだけ揺れながら続くとみなし、傾きは延長しません",
    "end": "{series}：{last:.4g} で {last_value:.4f}、{end:.4g} で {value:.4f}",
    "end_with_interval": "{series}：{last:.4g} で {last_value:.4f}、{end:.4g} で {value:.4f}（{low:.4f}～{high:.4f}）",
    # -- 損失から損失へ
    "below_floor": "換算の下限 E_from = {floor:.4g} 以下です。--floors zero を使ってください",
    "link_title": "1 つ目の損失から 2 つ目の損失へ",
    "first_loss": "1 つ目の損失",
    "second_loss": "2 つ目の損失",
    "accuracy": "正解率",
    "law_key": "法則と 90 % 区間",
    "pairs_key": "対",
    "pairs": "{first} → {second}：N と D が等しい対が {pairs} 組",
    "sigmoid": "正解率 = {top:.4g} - {height:.4g} / (1 + exp(-{steepness:.4g} (L_0 - {midpoint:.4g})))",
    "power": "L_1 = {factor:.4g} (L_0 - {floor_from:.4g})^{exponent:.4g} + {floor_to:.4g}   R2 {r_squared:.4f}",
    "error_of_loss": "伏せておいた最も低い損失での誤差：損失の {error:.2%}",
    "error_of_accuracy": "伏せておいた最も低い損失での誤差：{error:.2%}",
    "of_model": "N={params:.3g}、D={tokens:.3g}：{translated}",
    "translated": "{first:.4f} → {second:.4f}（{interval}）",
    "below_pairs": "{translated}。データのどの組よりも低い損失です（最も低い組は {lowest:.4f}）",
    # -- 判断
    "trillion": "{count:.3g} 兆",
    "billion": "{count:.3g}×10 億",
    "million": "{count:.3g}×100 万",
    "hundred_million": "{count:,g} 億",
    "ten_thousand": "{count:,g} 万",
    "option_stop": "ここで学習をやめる",
    "option_merge": "アニーリングの代わりに、今あるチェックポイントを平均する",
    "merged_from": "この学習の平均({method})。学習率がまだ下がっていない限り有効",
    "option_continue": "{params} パラメータの学習を {tokens} トークンまで続ける",
    "option_larger": "{params} パラメータのより大きなモデルを {tokens} トークンで新たに学習する",
    "option_smaller": "{params} パラメータのより小さなモデルを {tokens} トークンで新たに学習する",
    "option_data": "{name} に切り替え、{params} パラメータのモデルを {tokens} トークンで最初から学習する",
    "observed": "実測",
    "forecast_from": "{rows} 件の学習からの {predictor}",
    "carried_on": "現在の損失 {loss:.4f} を {predictor} で延長",
    "carried_on_method": (
        "現在の損失に予測された比を掛けたもの。誤差は、公開された学習を半分の時点から最後まで再現したときの大きさです"
    ),
    "matched_runs": "{before}；条件をそろえた {name} の学習",
    "experiment": "「{option}」と同じ方式で行う {flops} FLOP の試験（予算の {share:.1%}）",
    "decided": "結論：{best}。",
    "undecided": (
        "このデータでは決められません。現時点で優勢なのは「{best}」ですが、「{second}」も同程度に良い可能性があります"
        "（{share:.0%} 対 {second_share:.0%}）。"
    ),
    "gain": (
        "やめる場合と比べた、費用を差し引いた期待利得：{gain}（90 % 区間 {low}～{high}）。別の選択肢のほうが良かったと"
        "なる確率は {regret:.0%}、それによる期待損失は {expected} です。"
    ),
    "option": (
        "・{name}：{words}。費用 {cost}、損失 {loss:.4f}（{low:.4f}～{high:.4f}）、利得 {gain}、最良である確率 {share:.0%}。"
        "根拠：{origin}。"
    ),
    "no_experiment": "費用に見合う小さな試験はありません。結果が判断を変えることはまれだからです。",
    "cheapest_experiment": "より確かに判断するための最も安い方法：{words}。費用 {cost}、その価値 {worth}。",
    "assumptions": (
        "1 ポイントは損失 0.01 で、1 ポイントあたり {point} とみなします。予算は {flops} FLOP。損失は {data} に対する "
        "{model} の予測で、区間の作り方は次のとおりです：{method}。"
    ),
    "independent_errors": (
        "{model} は標本を出さないため、予測の誤差は互いに独立とみなしています。2 つの選択肢に共通する誤差は打ち消し合いません。"
    ),
    "no_method": "作り方は示されていません",
    "gain_axis": "やめる場合と比べた、費用を差し引いた利得（90 % 区間）",
    "worth": "その価値",
    "best_axis": "最良である確率",
    "how_sure": "どれほど確かか",
    # -- 決裁者のためのページ
    "page_heading": "続けるか、やめるか、予算を移すか",
    "recommend_spend": (
        "ご提案：{best}。費用は {cost}、その費用を差し引いても、やめる場合より {gain} の価値が見込まれます。下に挙げた選択肢の"
        "なかで最良である確率は {share:.0%} です。"
    ),
    "recommend_stop": (
        "ご提案：ここで学習をやめる。さらに費用をかけるなら最善は「{rival}」ですが、費用を差し引いた見込みは {gain} です。"
        "下に挙げた選択肢のなかで、やめることが最良である確率は {share:.0%} です。"
    ),
    "recommend_merge": (
        "ご提案：今あるチェックポイントを平均する。さらに費用をかけるなら最善は「{rival}」ですが、費用を差し引いた見込みは {gain} です。"
        "下に挙げた選択肢のなかで、平均することが最良である確率は {share:.0%} です。"
    ),
    "recommend_undecided": (
        "ご提案：まだ決裁なさらないでください。これまでの学習からは判断できません。期待値で首位なのは「{best}」です（費用 {cost}、"
        "差し引いた価値の見込み {gain}、最良である確率 {share:.0%}）が、「{second}」も同程度に良い可能性があります。"
    ),
    "page_experiment": "先に小さな試験を行います。費用は {cost}、価値は {worth} で、この提案を変える可能性があります。",
    "page_stages": "3 つの段階",
    "stages_lead": "「{option}」の計画の資金は 3 回に分けて支出します。各段階は、測定された損失によって承認されます。",
    "stages_note": (
        "承認されない段階があれば計画はそこで終わり、残りの資金は支出されません。ここでの損失は、その時点で学習を収束させた"
        "場合のものです。収束させる前の学習では、損失はやや高く出ます。"
    ),
    "stage.name": "段階",
    "stage.opens": "承認の条件",
    "model_done": "{params} パラメータのモデルを {tokens} トークンで学習",
    "stage.done": "実施内容",
    "stage.cost": "この段階の費用",
    "stage.expected": "終了時に見込まれる損失（90 % の範囲）",
    "stage.proof": "1. 概念実証",
    "stage.limited": "2. 限定実施：前半",
    "stage.full": "3. 本格実施：残り",
    "opens_now": "不要です。費用に見合う小さな学習はありません。予行として行うなら計画の 100 分の 1",
    "opens_for": "直ちに。結果の価値は {worth}、費用は {cost}",
    "opens_below": "{tokens} トークンの時点で損失が {loss:.4f} 以下のとき",
    "opens_never": "承認しません。どの損失でも費用に見合いません",
    "loss_alone": "{loss:.4f}",
    "loss_between": "{loss:.4f} [{low:.4f}, {high:.4f}]",
    "amounts_between": "{low}～{high}",
    "share": "{share:.0%}",
    "days": "{days:,.1f}",
    "page_run": "これまでの学習と、その行き先",
    "run_title": "{params} パラメータの学習の損失（現在 {loss:.4f}）。色の帯は 90 % の範囲",
    "tokens_axis": "トークン数",
    "seen": "測定値",
    "fan_continue": "この {params} の学習を続けた場合",
    "fan_new": "{params} の新しいモデル",
    "even_mark": "採算線：{loss:.4f}",
    "even": "「{option}」は、最終的な損失が {loss:.4f} 以下であれば費用に見合います。",
    "even_never": "「{option}」が費用に見合うような損失はありません。",
    "page_turns": "この結論を変えうるもの",
    "turn_now": "1 ポイント（損失 0.01）の価値は {value} と申告されています。ほかの条件がすべて同じなら：",
    "turn_less": (
        "1 ポイントの価値が {value} 以下、または計算費用が {factor:.3g} 倍以上なら、期待値での首位は「{best}」に変わります。"
    ),
    "turn_more": (
        "1 ポイントの価値が {value} 以上、または計算費用が {factor:.3g} 倍以下なら、期待値での首位は「{best}」に変わります。"
    ),
    "no_turn": "その価値が 100 分の 1 でも 100 倍でも、期待値での首位は変わりません。",
    "not_judged": "評価していないもの：{what}。理由：{why}。",
    "not_forecast": (
        "次のものは、このような表からは予測できないため選択肢に含めていません。いま学習率を下げて収束させること（学習自身の曲線から"
        "「e2lm predict curve --schedule」が予測します）、および収束させる代わりにチェックポイントを平均すること（「e2lm merge」が平均を"
        "作り、「e2lm eval」が測定します）。"
    ),
    "page_wrong": "判断を誤った場合の損失",
    "wrong": (
        "別の選択肢のほうが良かったとなる確率は {share:.0%} です。起こりうるすべての場合を平均すると、ご提案どおりに選ぶことで、"
        "前もって結果を知っていた場合より {regret} の損になります。"
    ),
    "page_options": "選択肢",
    "head.option": "選択肢",
    "head.option_cost": "費用",
    "head.loss_at_end": "終了時の損失（90 % の範囲）",
    "head.gain_after": "やめる場合と比べた利得（費用差引後）",
    "head.gain_ends": "10 回に 9 回入る範囲",
    "head.best_share": "最良である確率",
    "head.days": "学習日数",
    "head.serving": "費用のうち運用分",
    "page_words": "用語の説明",
    "page_made": (
        "予算は {budget} で、現在のモデルを {tokens} トークン学習できる額です。1 ポイントの価値は {value} です。予測は {data} の {rows} "
        "件の学習から「{model}」の方法で求めました。範囲の幅は、伏せておいたより大きな学習で、この種の予測が実際に外れた大きさに"
        "合わせてあります。"
    ),
    "word_head": "用語",
    "meaning_head": "意味",
    "word.loss": "損失",
    "meaning.loss": "見たことのない文章をモデルがどれほど予測し損なうか。低いほど良い",
    "word.point": "ポイント",
    "meaning.point": "損失 0.01",
    "word.parameters": "パラメータ",
    "meaning.parameters": "モデルを構成する数値の個数。モデルの大きさ",
    "word.tokens": "トークン",
    "meaning.tokens": "単語の断片。モデルがどれだけの文章で学習するか",
    "word.interval": "90 % の範囲",
    "meaning.interval": "10 回に 9 回、結果がそこに収まる範囲",
    "word.gain": "やめる場合と比べた利得",
    "meaning.gain": "いまやめる場合より減らせる損失のポイント数に、1 ポイントの価値を掛け、費用を差し引いたもの",
    "word.half": "前半",
    "meaning.half": "計画でこれから費用を払うトークンの半分",
}
