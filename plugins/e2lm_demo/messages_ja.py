"""The sentences of the demo's report in Japanese."""

JAPANESE = {
    "heading": "より良いレシピをどのベンチマークが、どれだけ早く見分けたか",
    # -- 答え
    "planted": (
        "小さな言語モデルを {count} つ学習しました。レシピの違いは 1 つだけで、どれが良いかは分かっています（良い順に {order}）。"
        "最初のレシピは 2 つのシードで 2 回学習しました。"
    ),
    "recipe.clean": "書かれたままの文章（clean）",
    "recipe.third": "各段落の単語の 3 分の 1 の順序を乱した同じ文章（third）",
    "recipe.two-thirds": "3 分の 2 を乱したもの（two-thirds）",
    "told_all": (
        "タスク {name} は、学習の {share:.0%} 以降のすべてのチェックポイントで、3 つすべてを見分けました。その差は 2 つのシードの差の最大の "
        "1.5 倍を超え、{comparisons} 件の比較を補正した問題による揺れも超えています。"
    ),
    "told_some": (
        "3 つすべてを見分けたタスクと指標はありません。タスク {name} は {pairs:list} を最後まで見分けました。その差は 2 つのシードの差の最大の "
        "1.5 倍を超え、{comparisons} 件の比較を補正した問題による揺れも超えています。"
    ),
    "told_none": (
        "2 つのシードの差の最大の 1.5 倍と、{comparisons} 件の比較を補正した問題による揺れを超えてレシピを見分けたタスクと指標はありません。"
        "これらの学習からは、誰にも判断できません。"
    ),
    "pair_from": "学習の {share:.0%} 以降の {better} と {worse}",
    "accuracy_all": "同じ回答の正解率は、学習の {share:.0%} 以降、3 つすべてを見分けました。",
    "accuracy_some": "同じ回答の正解率が見分けたのは {pairs:list} で、3 つすべてではありません。",
    "accuracy_none": "同じ回答の正解率は、どのレシピも見分けられませんでした。",
    "saves": (
        "最良の {best} は {share:.0%} 以降、ほかの 2 つから見分けられました。そこで 2 つをやめれば、3 つすべてを最後まで学習する計算量の "
        "{saved:.0%} を節約できます。"
    ),
    "all_true": "いずれかのタスクと指標が見分けた {claims} 組は、すべて仕込んだ順序どおりでした。",
    "some_untrue": (
        "いずれかのタスクと指標が見分けた {claims} 組のうち {wrong} 組は、仕込んだ順序と逆でした。表に印を付けてあります。"
    ),
    "blind": "誰にも判断できなかったもの：{tasks:list} は、どの指標でも、どの時点でも、レシピを見分けられませんでした。",
    "task_by_metric": "{task} の {metric}",
    # -- すべてのタスクと指標
    "every_task": "すべてのタスクと指標",
    "every_task_note": (
        "各タスクと指標が、良いレシピと悪いレシピを学習のどの割合以降のすべてのチェックポイントで見分けたか。「見分けた」とは、差が 2 つの"
        "シードの差の最大の 1.5 倍を超え、かつ問題で説明できる大きさ（両側 .05 を {comparisons} 件の比較で割った水準。レシピごとに別の"
        "問題とみなすので、やや大きめ）を超えることです。2 つのシードでは検定はできません。同じレシピどうしでも、シードだけで比較 100 件のうち "
        "2 件以下、シードが酔歩のように離れていくなら 14 件が通ります。シグナルのスコア：モデルの平均。"
    ),
    "task": "タスク",
    "metric": "指標",
    "pair": "{better} か {worse} か",
    "from": "{share:.0%} から",
    "from_wrongly": "{share:.0%} から（逆向き）",
    "never": "見分けられず",
    "seeds_apart": "2 つのシードの差の最大",
    "undefined": "未定義",
    # -- 最大のモデルの損失
    "prediction": "小さなモデルから予測した、最大のモデルの損失",
    "no_law": "法則を当てはめられませんでした：{reasons}",
    "law_forecast": "{name} の法則は 1 バイトあたり {forecast} ビットと予測し、実際は {truth:.3f} でした（{error:+.1%}）。",
    "law_and_baseline": (
        "{name} の法則は 1 バイトあたり {forecast} ビットと予測し、実際は {truth:.3f} でした（{error:+.1%}）。最良の基準 {baseline} は "
        "{said:.3f} でした（{baseline_error:+.1%}）。"
    ),
    "predictor": "予測の方法",
    "kind": "種類",
    "kind.baseline": "基準",
    "kind.law": "法則",
    "forecast": "予測",
    "interval": "90 % 区間",
    "came_out": "実際",
    "error": "誤差",
    # -- 図
    "training_tokens": "学習トークン数（対数目盛）",
    "share_of_run": "学習の進み具合",
    "at_share": "{name}、学習の {share:.0%}：{value:.3f} ± {half:.3f}",
    "at_share_alone": "{name}、学習の {share:.0%}：{value:.3f}",
    "at_tokens": "{name}、{tokens:short} トークン：{value:.3f}",
    "told_from_here": "ここから見分けられる",
    "chance": "偶然の水準",
    "probability": "確率",
    "nats_per_byte": "1 バイトあたりのナット数",
    "loss_chart": "取り分けた文章：1 バイトあたりのビット数",
    "loss_axis": "1 バイトあたりのビット数（低いほど良い）",
    "forecast_of": "予測（{name}）",
    "metric.acc": "正解率",
    "metric.norm_correct_prob": "選択肢のなかでの正解の確率",
    "metric.gold_minus_mean_wrong_per_byte": "対数尤度：正解と誤答の平均との差（1 バイトあたり）",
    "metric.bits_per_byte": "1 バイトあたりのビット数",
    "all_curves": "すべての曲線",
    "all_curves_note": "帯：タスクの問題による 90 % 区間（平均 ± 標準誤差の {quantile:.3f} 倍）。",
    # -- 作り方
    "how_made": "作成の条件",
    "made": "コマンドは 1 つ：e2lm demo。時間：{steps:list}（合計 {seconds:.0f} 秒）。{packages:list}。",
}
