"""The sentences of the pages of a season; Japanese stands in ``messages_ja``."""

from __future__ import annotations

from e2lm.messages import Catalogue
from e2lm_leaderboard.messages_ja import JAPANESE

say = Catalogue(
    "e2lm_leaderboard",
    {
        # -- on every page
        "skip": "Skip to content",
        "ranking": "Ranking",
        "status": "Status",
        "submit": "Submit",
        "csv": "CSV",
        "parquet": "Parquet",
        "log": "Log: {entries} {entries:plural entry|entries}, head <code>{head}</code>",
        "signed": "Ed25519 <code>{signature}</code> by key <code>{key}</code>",
        "tab": "{page} – {season}",
        # -- the ranking
        "ranking_note": (
            "By the part of <code>{score}</code> above its null, {split} scores with 90 % intervals. Rank = 1 + number "
            "of rows whose lower bound lies above your upper bound: equal ranks are what the data cannot tell apart. "
            "Below it the ranks that are possible, for all rows at once with 90 % confidence."
        ),
        "split.published": "published",
        "split.public": "public",
        "split.private": "private",
        "ladder_note": (
            "Public scores move only when a team beats its best by more than {step} (Ladder rule), the others are "
            "rounded to that; private scores decide at the end."
        ),
        "ladder_note_until": (
            "Public scores move only when a team beats its best by more than {step} (Ladder rule), the others are "
            "rounded to that; private scores decide at the end, {end}."
        ),
        "hidden_note": (
            "Checkpoints after {tokens:g} tokens are hidden until then: a score that needs them is shown then."
        ),
        "ranking_table": "Ranking table",
        "ranks": "{best}–{worst}",
        "filter": "Show rows with",
        "range": "Picture",
        "spark": "curve, from {first} to {last}",
        "more_columns": "A wider window shows the other scores.",
        "p_below": "< {least}",
        "about": "Metric {metric}, language {language}, licence {license}, {tier}.",
        "rank": "Rank",
        "benchmark": "Benchmark",
        "team": "Team",
        "score": "Score",
        "interval": "Interval",
        "tries": "Tries",
        "received": "Received",
        "none_scored": "No submission has been scored yet.",
        "how_to_enter": (
            "To enter: <code>e2lm leaderboard new-submission DIR</code> makes a benchmark to start from, "
            "<code>e2lm leaderboard check DIR</code> looks at yours, and with the token of your team you send it."
        ),
        "taken_until": "Submissions are taken until {end}.",
        "why_missing": "Why a number or an interval is missing",
        "missing": "<strong>{score}</strong> of {names}: {reason}",
        "all": "all",
        "some_and_more": "{names:list} and {rest} more",
        "pages": "Pages",
        "page_of": "Page {page} of {pages}",
        "previous": "previous",
        "next": "next",
        "compare_two": "Compare two",
        "first_id": "First (beginning of its id)",
        "second_id": "Second",
        "compare": "Compare",
        "compared": "Compared",
        # -- the null control
        "never_moves": "the curve never moves: no signal",
        "no_curve": "no curve",
        "no_null": "undefined when the answers are redrawn",
        "null_of": "answers redrawn {draws} times, {way}",
        "way.any": "each choice as likely",
        "way.place": "keeping at which places they stand",
        "way.length": "keeping how long they are",
        "way.commonness": "keeping how common their words are",
        "no_improvement": "no improvement on the best of the team: its numbers are shown at the end",
        "flag.not_controlled": "scored without the null control",
        "flag.not_above_null": "not above its null",
        "flag.not_above_house": "does not beat the house cheats",
        "flag.house": "house cheat",
        "flag_note.not_above_null": (
            "Not above its null: with answers drawn at random the score is as high, so it says nothing of knowledge. "
            "Such entries rank below all others."
        ),
        "flag_note.not_above_house": (
            "Does not beat the house cheats: its interval does not lie wholly above the best of the entries of the "
            "house, which know nothing."
        ),
        "flag_note.house": "House cheats are benchmarks that know nothing, entered by the organiser, without rank.",
        "flag_note.not_controlled": (
            "Scored without the null control, by an earlier version: such entries rank below those above their null "
            "until they are scored again."
        ),
        # -- what little would change a rank
        "axis.items": "items",
        "axis.checkpoints": "checkpoints",
        "axis.series": "series",
        "without": "Rank changes without",
        "share_of": "{share:.2g} % of {axis}",
        "more_than_half": "more than 50 %",
        "removal_note": (
            "Rank changes without: the smallest share of the items, checkpoints or series of an entry that was found "
            "whose loss makes its rank another, the others as they are. Less may do."
        ),
        "removal_intro": "Its rank is another without: {parts:list}.",
        "removal_none": "more than 50 % of {axis}",
        # -- a team
        "team_note": "{count} {count:plural submission|submissions}, the newest first; times are UTC.",
        "log_of": "Log",
        "more_of": "All submissions of {team}",
        # -- two submissions
        "against": "{first} against {second}",
        "who": (
            'A is <a href="{first_link}">{first}</a> of {first_team}, B is <a href="{second_link}">{second}</a> of '
            "{second_team}."
        ),
        "verdict.A is better": "A is better",
        "verdict.B is better": "B is better",
        "verdict.the data cannot tell them apart": "the data cannot tell them apart",
        "not_decided": "not decided: {reason}",
        "too_few_series": "{count} series; the test over series needs {least} to {most}",
        "without_interval": "a score without an interval",
        "difference": "A minus B",
        "interval_90": "90 % interval",
        "p_items": "p, noise of items",
        "p_series": "p, other series",
        "series": "Series",
        "no_common_series": "The two share no series with a number.",
        # -- a submission
        "received_of": "<code>{name}</code> of {team}, received {time} UTC.",
        "state_of": 'State: <span class="state">{state}</span>.',
        "state_and_rank": 'State: <span class="state">{state}</span>, rank {rank}, try {tries} of this team.',
        "state.queued": "queued",
        "state.checking": "checking",
        "state.running": "running",
        "state.scored": "scored",
        "state.refused": "refused",
        "state.withdrawn": "withdrawn",
        "state.disqualified": "disqualified",
        "why": "Why",
        "remarks": "Remarks: {remarks}",
        "scores": "Scores",
        "split": "Split",
        "value": "Value",
        "note": "Note",
        "all_series": "all",
        "curves": "Curves over checkpoints (public items)",
        "curve_numbers": "The curves as numbers",
        "tasks": "Tasks",
        "task": "Task",
        "items": "Items",
        "public": "Public",
        "choices": "Choices",
        "samples": "Samples (public items)",
        "choice": "Choice",
        "loglik_at": "log-likelihood, step {step}",
        "true_choice": "{choice} (true)",
        "environment": "Environment",
        "id": "Id",
        # -- the queue
        "count_of_state": "{count} {state}",
        "nothing_yet": "Nothing has arrived yet.",
        "submissions": "Submissions",
        "number": "No.",
        "state": "State",
        "since": "Since",
        "newest": "The newest {shown} of {total}.",
        # -- the form
        "form_note": (
            "A zip of the bundle's folder. Check it first: <code>e2lm leaderboard check DIR</code> runs the "
            "same checks."
        ),
        "token": "Token of the team",
        "bundle": "Bundle",
        "daily_limit": (
            "{count} {count:plural submission|submissions} within 24 hours; refused ones do not count, but copies do."
        ),
        "no_such_token": "No team has this token.",
        "refused": "Refused:",
        # -- charts
        "chart": "{name}: {task}",
        "chart_description": "{name}: {task}: {metric} of {count} series over checkpoints",
        "control": "{series} (control)",
        "chance": "chance",
        "tokens": "tokens",
        "step": "step",
        # -- why a page is not there
        "error": "{status} {phrase}",
        "phrase.Bad Request": "Bad Request",
        "phrase.Not Found": "Not Found",
        "phrase.Method Not Allowed": "Method Not Allowed",
        "phrase.Too Many Requests": "Too Many Requests",
        "phrase.Service Unavailable": "Service Unavailable",
        "back": "Back to the ranking",
        "as_sentence": "{detail}.",
        "so_many_pages": "the ranking has {pages} {pages:plural page|pages}",
        "no_such_page": "there is no such page",
        "too_large": "the bundle is too large, or its length is not told",
        "too_many": "team {team} sends too much at once; wait as long as Retry-After says",
        "no_database": "the database does not answer; nothing was lost, try again in a minute",
    },
    {"ja": JAPANESE},
)
