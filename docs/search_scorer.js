/* Sphinx's scores, with guides before the API of Python, decisions and the glossary, and the command line last. The words of `index`
   directives are the synonyms that readers search for. */
var Scorer = {
  score: (result) => {
    const [docname, , anchor, , score] = result;
    if (/^#index-\d+$/.test(anchor)) result[2] = ""; // the page itself, which is then shown once
    if (docname === "reference/glossary") return score / 10; // an entry of the index has 100
    if (docname === "reference/command-line") return score - 50;
    if (docname.startsWith("project/") || docname === "reference/python-api") return score - 25;
    if (/^(start|guides|operate|concepts)\//.test(docname)) return score + 6;
    return score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

/* Sphinx drops numbers from queries. conf.py keeps them in the index. */
if (typeof Search !== "undefined") {
  const parse = Search._parseQuery;
  Search._parseQuery = (query) => {
    const parsed = parse(query);
    const [, terms, , highlighted] = parsed;
    for (const number of query.match(/\b\d{3,5}\b/g) || []) {
      terms.add(number);
      highlighted.add(number);
    }
    return parsed;
  };
}
