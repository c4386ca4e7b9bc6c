#include "lexical_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <utility>

#include "lexical_cursor.h"
#include "lexical_top.h"
#include "lexical_words.h"

namespace collegium::index {
namespace {

// Rows that are added up together, at most.
constexpr std::uint64_t kWindow = 4096;
// With more words than this to add up, windows are not fitted to their blocks: looking at every
// word for every block of another would cost more than it saves.
constexpr std::size_t kMaxFittedWords = 64;
// A bound is added up in another order than the score it bounds.
constexpr double kRoundingMargin = 1.0 + 1e-9;

using Phrase = std::vector<PhraseCursor::Word>;

struct CompiledQuery {
  std::map<std::string, double> counts;  // of the words that score
  std::vector<Phrase> required;
  std::vector<Phrase> excluded;
};

CompiledQuery compile(const LexicalQuery& query, const LexicalSettings& settings) {
  CompiledQuery compiled;
  LexicalWords words(settings);
  for (const LexicalQuery::Clause& clause : query.clauses) {
    Phrase phrase;
    words.run(clause.text, 0, [&](const LexicalWords::Word& word) {
      if (clause.need != LexicalQuery::Need::kExcluded)
        compiled.counts[std::string(word.term)] += 1;
      if (!word.whole_name) phrase.push_back({std::string(word.term), word.position});
    });
    if (phrase.empty() || clause.need == LexicalQuery::Need::kOptional) continue;
    const std::uint32_t first = phrase.front().offset;
    for (PhraseCursor::Word& word : phrase) word.offset -= first;
    (clause.need == LexicalQuery::Need::kRequired ? compiled.required : compiled.excluded)
        .push_back(std::move(phrase));
  }
  return compiled;
}

class Search {
 public:
  Search(const LexicalTables& tables, std::uint32_t collection, const LexicalState& lexical,
         const CollectionState& state, std::size_t k)
      : tables_(tables),
        collection_(collection),
        lexical_(lexical),
        bm25_(*lexical.summary),
        rows_(state),
        top_(k) {}

  Result<LexicalResult> run(const LexicalQuery& query) {
    const CompiledQuery compiled = compile(query, lexical_.summary->settings);
    for (const auto& [term, count] : compiled.counts) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto cursor, open(term));
      if (cursor->df() > lexical_.summary->passages)
        return tables_.damaged("a term is in more passages than there are");
      if (cursor->at_end()) continue;
      const double weight = count * Bm25::idf(lexical_.summary->passages, cursor->df());
      words_.push_back({{term, weight}, std::move(cursor)});
    }
    std::stable_sort(words_.begin(), words_.end(), [](const Word& a, const Word& b) {
      return a.term.weight > b.term.weight;  // equal ones by term, as the map had them
    });
    bounds_.assign(words_.size() + 1, 0.0);
    for (std::size_t i = words_.size(); i-- > 0;)
      bounds_[i] = bounds_[i + 1] + words_[i].term.weight;

    bool possible = true;
    for (const Phrase& phrase : compiled.required) {
      COLLEGIUM_ASSIGN_OR_RETURN(PhraseCursor cursor, open(phrase));
      possible = possible && cursor.df() > 0;
      required_.push_back(std::move(cursor));
    }
    for (const Phrase& phrase : compiled.excluded) {
      COLLEGIUM_ASSIGN_OR_RETURN(PhraseCursor cursor, open(phrase));
      if (cursor.df() > 0) excluded_.push_back(std::move(cursor));
    }
    if (possible) COLLEGIUM_RETURN_IF_ERROR(required_.empty() ? walk_windows() : walk_required());

    for (const Word& word : words_) COLLEGIUM_RETURN_IF_ERROR(word.cursor->status());
    for (const PhraseCursor& phrase : required_) COLLEGIUM_RETURN_IF_ERROR(phrase.status());
    for (const PhraseCursor& phrase : excluded_) COLLEGIUM_RETURN_IF_ERROR(phrase.status());
    LexicalResult result;
    result.documents = top_.finish();
    for (Word& word : words_) result.terms.push_back(std::move(word.term));
    return result;
  }

 private:
  struct Word {
    LexicalTerm term;
    std::unique_ptr<PostingCursor> cursor;
  };

  Result<std::unique_ptr<PostingCursor>> open(std::string_view term) const {
    return PostingCursor::open(tables_, lexical_.snapshot.get(), collection_, term);
  }
  Result<PhraseCursor> open(const Phrase& phrase) const {
    return PhraseCursor::open(tables_, lexical_.snapshot.get(), collection_, phrase);
  }

  // Whether a passage that can score `bound` at most cannot be in the result. One that ties with
  // the last document can.
  bool too_low(double bound) const {
    return top_.full() && static_cast<float>(bound * kRoundingMargin) < top_.least();
  }

  // Without required clauses: the words that alone can lift a passage into the result are walked.
  Status walk_windows() {
    std::vector<double> sums(kWindow, 0.0);
    std::array<std::uint64_t, kWindow / 64> marks{};
    std::size_t walked = words_.size();  // words_[0, walked); of the others none is enough
    for (;;) {
      while (walked > 0 && too_low(bounds_[walked - 1])) --walked;
      std::uint64_t begin = ~std::uint64_t{0};
      for (std::size_t i = 0; i < walked; ++i)
        if (!words_[i].cursor->at_end()) begin = std::min(begin, words_[i].cursor->row());
      if (begin == ~std::uint64_t{0}) return {};
      std::uint64_t end = begin + kWindow;
      if (walked <= kMaxFittedWords) {
        for (std::size_t i = 0; i < walked; ++i)
          if (const PostingCursor& c = *words_[i].cursor; !c.at_end() && c.row() < end)
            end = std::min(end, c.block().last_row() + 1);
        double bound = bounds_[walked];
        for (std::size_t i = 0; i < walked; ++i)
          if (PostingCursor& c = *words_[i].cursor; !c.at_end() && c.row() < end)
            bound += words_[i].term.weight * c.block_bound(bm25_);
        if (too_low(bound)) {
          for (std::size_t i = 0; i < walked; ++i) words_[i].cursor->skip_to(end);
          continue;
        }
      }
      for (std::size_t i = 0; i < walked; ++i)
        if (!words_[i].cursor->at_end())
          words_[i].cursor->add_up(begin, end, words_[i].term.weight, bm25_, sums, marks);
      for (std::size_t group = 0; group < marks.size(); ++group) {
        for (std::uint64_t bits = std::exchange(marks[group], 0); bits != 0; bits &= bits - 1) {
          const std::size_t d = group * 64 + static_cast<std::size_t>(std::countr_zero(bits));
          const double sum = std::exchange(sums[d], 0.0);
          const std::optional<double> score = add_rest(begin + d, sum, walked);
          if (score.has_value()) COLLEGIUM_RETURN_IF_ERROR(consider(begin + d, *score));
        }
      }
    }
  }

  // With required clauses: the passages with the rarest required word are walked.
  Status walk_required() {
    std::stable_sort(required_.begin(), required_.end(),
                     [](const PhraseCursor& a, const PhraseCursor& b) { return a.df() < b.df(); });
    const std::string& rarest = required_.front().rarest();
    COLLEGIUM_ASSIGN_OR_RETURN(const auto driver, open(rarest));
    const auto word = std::find_if(words_.begin(), words_.end(),
                                   [&](const Word& w) { return w.term.term == rarest; });
    if (word == words_.end())
      return tables_.damaged("term '" + rarest +
                             "' has passages by its count and none by its blocks");
    const double others = bounds_[0] - word->term.weight;  // it scores too
    while (!driver->at_end()) {
      if (too_low(others + word->term.weight * driver->block_bound(bm25_))) {
        driver->skip_to(driver->block().last_row() + 1);
        continue;
      }
      const std::uint64_t row = driver->row();
      const bool has_all = std::all_of(required_.begin(), required_.end(),
                                       [row](PhraseCursor& p) { return p.has_words(row); });
      if (has_all) {
        const std::optional<double> score = add_rest(row, 0.0, 0);
        if (score.has_value() && std::all_of(required_.begin(), required_.end(),
                                             [](PhraseCursor& p) { return p.is_phrase(); }))
          COLLEGIUM_RETURN_IF_ERROR(consider(row, *score));
      }
      driver->skip_to(row + 1);
    }
    return driver->status();
  }

  // What words_[from, ...) add to `sum`; nothing if the passage cannot be in the result.
  std::optional<double> add_rest(std::uint64_t row, double sum, std::size_t from) {
    for (std::size_t i = from; i < words_.size(); ++i) {
      if (too_low(sum + bounds_[i])) return std::nullopt;
      PostingCursor& cursor = *words_[i].cursor;
      cursor.skip_to_block(row);
      if (cursor.at_end()) continue;
      const double weight = words_[i].term.weight;
      if (too_low(sum + weight * cursor.block_bound(bm25_) + bounds_[i + 1])) return std::nullopt;
      if (!cursor.find(row)) continue;
      const PostingBlock& block = cursor.block();
      sum += weight * bm25_.saturation(block.tf(cursor.at()), block.length(cursor.at()));
    }
    if (too_low(sum)) return std::nullopt;
    return sum;
  }

  Status consider(std::uint64_t row, double score) {
    for (PhraseCursor& phrase : excluded_)
      if (phrase.has_words(row) && phrase.is_phrase()) return {};
    const LiveRows::Place place = rows_.find(row);
    if (place.segment == nullptr)
      return tables_.damaged("row " + std::to_string(row) + " has postings but no passage");
    if (place.alive) top_.add({static_cast<float>(score), place.segment, place.position});
    return {};
  }

  const LexicalTables& tables_;
  const std::uint32_t collection_;
  const LexicalState& lexical_;
  const Bm25 bm25_;
  LiveRows rows_;
  TopDocuments top_;
  std::vector<Word> words_;     // by descending weight
  std::vector<double> bounds_;  // (words + 1,): what words_[i, ...) can give together
  std::vector<PhraseCursor> required_;
  std::vector<PhraseCursor> excluded_;
};

}  // namespace

Result<LexicalResult> search_postings(const LexicalTables& tables, std::uint32_t collection,
                                      const LexicalState& lexical, const CollectionState& state,
                                      const LexicalQuery& query, std::size_t k) {
  return Search(tables, collection, lexical, state, k).run(query);
}

std::vector<LexicalMatch> explain_passage(const LexicalState& lexical,
                                          std::span<const LexicalTerm> terms,
                                          std::string_view title, std::string_view text,
                                          core::ByteSpan passage) {
  passage = whole_characters(text, passage);
  std::vector<LexicalMatch> matches(terms.size());
  std::map<std::string_view, std::size_t> numbers;
  for (std::size_t i = 0; i < terms.size(); ++i) numbers.emplace(terms[i].term, i);
  std::size_t length = 0;
  const auto collect = [&](std::string_view part, std::size_t offset, auto list) {
    LexicalWords words(lexical.summary->settings);
    words.run(part, 0, [&](const LexicalWords::Word& word) {
      ++length;
      const auto found = numbers.find(word.term);
      if (found == numbers.end()) return;
      (matches[found->second].*list)
          .push_back({word.bytes.begin + offset, word.bytes.end + offset});
    });
  };
  collect(title, 0, &LexicalMatch::in_title);
  collect(text.substr(passage.begin, passage.end - passage.begin), passage.begin,
          &LexicalMatch::in_text);
  const Bm25 bm25(*lexical.summary);
  for (std::size_t i = 0; i < terms.size(); ++i) {
    LexicalMatch& match = matches[i];
    match.term = terms[i].term;
    const std::size_t tf = match.in_title.size() + match.in_text.size();
    if (tf > 0)
      match.score = static_cast<float>(
          terms[i].weight * bm25.saturation(static_cast<double>(tf), static_cast<double>(length)));
  }
  std::erase_if(matches,
                [](const LexicalMatch& m) { return m.in_title.empty() && m.in_text.empty(); });
  return matches;
}

}  // namespace collegium::index
