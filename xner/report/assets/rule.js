// Which labels a row gets under other rules: the twin of xner/projection/quality.py and resolve.py.
// What any rules leave of the whole run: the twin of xner/projection/thresholds.py.
// Both are tested against the Python on real rows.
//
// A mention is [start, end, label, score], a candidate [start, end, score, method, evidence], and
// the two spans that it labels where it tells a name twice, as the Python says of it.
// Scores are counted in steps of 1/4096, as shards keep them, so that every division is exact.
"use strict";

const FULL_SCORE = 4096;

// The index of each mention's candidate, or null: the surest first, no two in the same place.
function resolve(mentions, offered, minScore) {
  const ranked = [];
  for (let i = 0; i < offered.length; i++) {
    for (let j = 0; j < offered[i].length; j++) {
      const [start, end, score] = offered[i][j];
      if (score / FULL_SCORE >= minScore) {
        ranked.push({ score, of: mentions[i][0], length: end - start, start, end, i, j });
      }
    }
  }
  ranked.sort((a, b) =>
    b.score - a.score || a.of - b.of || b.length - a.length || a.start - b.start || a.i - b.i ||
    a.j - b.j);
  const chosen = mentions.map(() => null);
  const taken = [];
  for (const next of ranked) {
    const isFree = (other) => next.end <= other.start || other.end <= next.start;
    if (chosen[next.i] === null && taken.every(isFree)) {
      chosen[next.i] = next.j;
      taken.push(next);
    }
  }
  return taken.length > 1 ? inSourceOrder(mentions, offered, chosen) : chosen;
}

// The same places, exchanged among placed mentions whose candidates are the same.
function inSourceOrder(mentions, offered, chosen) {
  // Few rows have any, and comparing all of every list would take long.
  const mayBeAlike = (one, other) =>
    one.length === other.length && one[0][0] === other[0][0] && one[0][2] === other[0][2];
  const hasTwin = (i) => offered.some((other, k) =>
    k < i && chosen[k] !== null && mayBeAlike(offered[i], other));
  if (!chosen.some((j, i) => j !== null && hasTwin(i))) return chosen;
  const alike = new Map();
  chosen.forEach((j, i) => {
    if (j === null) return;
    const key = JSON.stringify(offered[i]);
    alike.set(key, [...(alike.get(key) ?? []), i]);
  });
  const ordered = [...chosen];
  for (const members of alike.values()) {
    members.sort((one, other) => mentions[one][0] - mentions[other][0]);
    const startOf = (j) => offered[members[0]][j][0];
    const places = members.map((i) => chosen[i]);
    places.sort((one, other) => startOf(one) - startOf(other) || one - other);
    members.forEach((i, n) => (ordered[i] = places[n]));
  }
  return ordered;
}

// A row's labels, weight, status and reason under these rules. A row in error stays as it is.
// A label is [start, end, label, score, alignment score, index of the source mention].
function decide(row, rules) {
  if (row.status === "error") return row;
  let { mentions, candidates: offered } = row;
  let wanted = null;
  if (rules.labels !== null) {
    wanted = [...mentions.keys()].filter((index) => rules.labels.includes(mentions[index][2]));
    mentions = wanted.map((index) => row.mentions[index]);
    offered = wanted.map((index) => row.candidates[index]);
  }
  const chosen = resolve(mentions, offered, rules.min_alignment_score);
  const labels = [];
  let certain = 0;
  chosen.forEach((choice, i) => {
    if (choice === null) return;
    const [, , score] = offered[i][choice];
    const [, , type, sure] = mentions[i];
    const index = wanted === null ? i : wanted[i];
    certain += sure * score;
    spansOf(offered[i][choice]).forEach(([start, end]) => labels.push([start, end, type, sure, score, index]));
  });
  labels.sort((one, other) => one[0] - other[0]);
  const weight = mentions.length ? certain / FULL_SCORE ** 2 / mentions.length : 1;
  const reason = judge(row, mentions, offered, chosen, rules);
  return { labels, weight, status: reason === null ? "ok" : "filtered", reason };
}

// What a candidate labels.
function spansOf([start, end, , , , spans]) {
  return spans ?? [[start, end]];
}

// Whether a candidate is where a mention has its labels.
function isPlaced(candidate, index, labels) {
  const mine = labels.filter((label) => label[5] === index);
  const spans = spansOf(candidate);
  return mine.length === spans.length && spans.every(([start, end], n) =>
    mine[n][0] === start && mine[n][1] === end);
}

function judge(row, mentions, offered, chosen, rules) {
  if (!mentions.length) return row.share < rules.keep_mention_free ? null : "mention_free";
  const sure = (score, least) => score / FULL_SCORE >= least;
  if (!mentions.every((mention) => sure(mention[3], rules.min_teacher_score))) {
    return "low_teacher_score";
  }
  const unplaced = offered.filter((_, i) => chosen[i] === null);
  if (unplaced.length <= rules.max_unplaced) return null;
  if (unplaced.some((candidates) => !candidates.length)) return "unplaced_mention";
  const taken = unplaced.some((candidates) =>
    candidates.some((candidate) => sure(candidate[2], rules.min_alignment_score)),
  );
  return taken ? "contested_mention" : "low_alignment_score";
}

// Asks the counts of a whole run: outcome(rules) is { rows: by reason, labels: by type }.
function outcomes({ grid, rows, labels, lacking, contested, mention_free }) {
  const height = grid.min_teacher_score.length + 1;
  const width = grid.min_alignment_score.length + 1;
  // sums[u][t][a]: how many pass at least t thresholds of the teacher and a of the alignment.
  const summed = (cells, columns, alongColumns) => {
    const tables = grid.max_unplaced.map(() => new Float64Array((height + 1) * (columns + 1)));
    for (const [unplaced, teacher, alignment, count] of cells) {
      tables[unplaced][teacher * (columns + 1) + alignment] = count;
    }
    for (const table of tables) {
      for (let t = height - 1; t >= 0; t--) {
        for (let a = columns - 1; a >= 0; a--) {
          const here = t * (columns + 1) + a;
          const below = here + columns + 1;
          table[here] += table[below];
          if (alongColumns) table[here] += table[here + 1] - table[below + 1];
        }
      }
    }
    return (unplaced, teacher, alignment) =>
      tables[unplaced][teacher * (columns + 1) + alignment];
  };
  const allRows = summed(rows, width, true);
  const allLacking = summed(lacking, width, true);
  const allContested = summed(contested, width - 1, false);
  const byLabel = Object.entries(labels).map(([name, cells]) => [name, summed(cells, width, true)]);
  const free = mention_free.reduce((sum, count) => sum + count, 0);

  return (rules) => {
    const place = (name) => grid[name].indexOf(rules[name]);
    const u = place("max_unplaced");
    const t = place("min_teacher_score") + 1;
    const a = place("min_alignment_score") + 1;
    const share = place("keep_mention_free");
    const keptFree = mention_free.slice(0, share + 1).reduce((sum, count) => sum + count, 0);
    const sure = allRows(u, t, 0);
    const accepted = allRows(u, t, a);
    const without = allLacking(u, t, 0) - allLacking(u, t, a);
    const taken = allContested(u, t, a - 1);
    return {
      rows: {
        ok: accepted + keptFree,
        low_teacher_score: allRows(u, 0, 0) - sure,
        unplaced_mention: without,
        contested_mention: taken,
        low_alignment_score: sure - accepted - without - taken,
        mention_free: free - keptFree,
      },
      labels: Object.fromEntries(byLabel.map(([name, count]) => [name, count(u, t, a)])),
    };
  };
}
