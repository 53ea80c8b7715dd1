/* Sphinx's scores, with guides before the API of Python, decisions and the glossary. */
var Scorer = {
  score: (result) => {
    const [docname, , , , score] = result;
    if (docname === "reference/glossary") return score / 10; // an entry of the index has 100
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
