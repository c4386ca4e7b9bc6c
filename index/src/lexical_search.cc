#include "lexical_search.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "lexical_cursor.h"
#include "lexical_top.h"
#include "lexical_words.h"

namespace collegium::index {
namespace {

// Rows that are added up together, at most.
constexpr std::uint64_t kWindow = 4096;  // 64 groups of 64
// With more words than this to add up, windows are not fitted to their blocks: looking at every
// word for every block of another would cost more than it saves.
constexpr std::size_t kMaxFittedWords = 4;
// Unpacking a block costs about as much as looking up so many of its rows.
constexpr std::size_t kLookupsOfABlock = 8;
// A bound is added up in another order than the score it bounds.
constexpr double kRoundingMargin = 1.0 + 1e-9;

// Of 64 numbers a bit each: whether it is at least `least`.
std::uint64_t at_least(const double* numbers, double least) noexcept {
  std::uint64_t bits = 0;
#ifdef __SSE2__
  const __m128d bound = _mm_set1_pd(least);
  for (int i = 0; i < 64; i += 8) {
    const __m128d a = _mm_loadu_pd(numbers + i);
    const __m128d b = _mm_loadu_pd(numbers + i + 2);
    const __m128d c = _mm_loadu_pd(numbers + i + 4);
    const __m128d d = _mm_loadu_pd(numbers + i + 6);
    const auto reaches = [&](__m128d two) {
      return static_cast<unsigned>(_mm_movemask_pd(_mm_cmpge_pd(two, bound)));
    };
    if (reaches(_mm_max_pd(_mm_max_pd(a, b), _mm_max_pd(c, d))) == 0) continue;
    const unsigned eight = reaches(a) | reaches(b) << 2 | reaches(c) << 4 | reaches(d) << 6;
    bits |= std::uint64_t{eight} << i;
  }
#else
  for (int i = 0; i < 64; ++i) bits |= std::uint64_t{numbers[i] >= least} << i;
#endif
  return bits;
}

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
      COLLEGIUM_ASSIGN_OR_RETURN(auto postings, open(term));
      if (postings->df() > lexical_.summary->passages)
        return tables_.damaged("a term is in more passages than there are");
      if (postings->df() == 0) continue;
      const double weight = count * Bm25::idf(lexical_.summary->passages, postings->df());
      words_.push_back({{term, weight}, PostingCursor(std::move(postings))});
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
    PostingCursor cursor;
  };
  struct Candidate {
    std::uint64_t row = 0;
    double score = 0.0;  // so far
  };

  Result<std::shared_ptr<const TermPostings>> open(std::string_view term) const {
    return find_postings(tables_, collection_, lexical_, term);
  }
  Result<PhraseCursor> open(const Phrase& phrase) const {
    return PhraseCursor::open(tables_, collection_, lexical_, phrase);
  }

  // Whether a passage that can score `bound` at most cannot be in the result. One that ties with
  // the last document can.
  bool too_low(double bound) const noexcept { return bound < cutoff_; }

  // Without required clauses: the words that alone can lift a passage into the result are walked.
  Status walk_windows() {
    std::vector<double> sums(kWindow, 0.0);
    std::size_t walked = words_.size();  // words_[0, walked); of the others none is enough
    for (;;) {
      while (walked > 0 && too_low(bounds_[walked - 1])) --walked;
      std::uint64_t begin = ~std::uint64_t{0};
      for (std::size_t i = 0; i < walked; ++i)
        if (!words_[i].cursor.at_end()) begin = std::min(begin, words_[i].cursor.row());
      if (begin == ~std::uint64_t{0}) return {};
      std::uint64_t end = begin + kWindow;
      if (walked <= kMaxFittedWords) {
        for (std::size_t i = 0; i < walked; ++i)
          if (const PostingCursor& c = words_[i].cursor; !c.at_end() && c.row() < end)
            end = std::min(end, c.last_row() + 1);
        double bound = bounds_[walked];
        for (std::size_t i = 0; i < walked; ++i)
          if (PostingCursor& c = words_[i].cursor; !c.at_end() && c.row() < end)
            bound += words_[i].term.weight * c.block_bound(bm25_);
        if (too_low(bound)) {
          for (std::size_t i = 0; i < walked; ++i) words_[i].cursor.skip_to(end);
          continue;
        }
      }
      std::uint64_t groups = 0;  // of 64 rows: those with a word
      for (std::size_t i = 0; i < walked; ++i)
        if (!words_[i].cursor.at_end())
          groups |= words_[i].cursor.add_up(begin, end, words_[i].term.weight, bm25_, sums);
      take_candidates(begin, groups, bounds_[walked], sums);
      for (std::size_t i = walked; i < words_.size() && !candidates_.empty(); ++i)
        add_word(words_[i], bounds_[i + 1]);
      for (const Candidate& candidate : candidates_)
        if (!too_low(candidate.score))
          COLLEGIUM_RETURN_IF_ERROR(consider(candidate.row, candidate.score));
    }
  }

  // Makes candidates of the rows from `begin` whose sum can be in the result with `rest`, and sets
  // all sums to zero.
  void take_candidates(std::uint64_t begin, std::uint64_t groups, double rest,
                       std::span<double> sums) {
    candidates_.clear();
    if (groups == 0) return;
    const auto first_group = static_cast<std::size_t>(std::countr_zero(groups));
    const auto end_group = 64 - static_cast<std::size_t>(std::countl_zero(groups));
    // Below what too_low() lets pass, above the sum of a row without words, and normal: to a thread
    // that takes denormals for zero, a smaller number would be a sum of zero.
    const double least =
        std::max((cutoff_ - rest) / kRoundingMargin, std::numeric_limits<double>::min());
    for (; groups != 0; groups &= groups - 1) {
      const auto first = static_cast<std::size_t>(std::countr_zero(groups)) * 64;
      const double* group = sums.data() + first;
      for (std::uint64_t bits = at_least(group, least); bits != 0; bits &= bits - 1) {
        const auto d = static_cast<std::size_t>(std::countr_zero(bits));
        candidates_.push_back({begin + first + d, group[d]});
      }
    }
    std::fill(sums.begin() + static_cast<std::ptrdiff_t>(first_group * 64),
              sums.begin() + static_cast<std::ptrdiff_t>(end_group * 64), 0.0);
  }

  // Adds what `word` gives to the candidates, and drops those that cannot be in the result when the
  // words behind it give `rest` at most.
  void add_word(Word& word, double rest) {
    PostingCursor& cursor = word.cursor;
    const double weight = word.term.weight;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      Candidate candidate = candidates_[i];
      cursor.skip_to_block(candidate.row);
      if (!cursor.at_end() && cursor.row() <= candidate.row) {
        if (too_low(candidate.score + weight * cursor.block_bound(bm25_) + rest)) continue;
        const std::size_t more = i + kLookupsOfABlock;
        if (more < candidates_.size() && candidates_[more].row <= cursor.last_row())
          cursor.unpack(weight, bm25_);
        candidate.score += cursor.score(candidate.row, weight, bm25_);
      }
      if (!too_low(candidate.score + rest)) candidates_[kept++] = candidate;
    }
    candidates_.resize(kept);
  }

  // With required clauses: the passages with the rarest required word are walked.
  Status walk_required() {
    std::stable_sort(required_.begin(), required_.end(),
                     [](const PhraseCursor& a, const PhraseCursor& b) { return a.df() < b.df(); });
    const std::string& rarest = required_.front().rarest();
    COLLEGIUM_ASSIGN_OR_RETURN(auto postings, open(rarest));
    PostingCursor driver(std::move(postings));
    const auto word = std::find_if(words_.begin(), words_.end(),
                                   [&](const Word& w) { return w.term.term == rarest; });
    if (word == words_.end())
      return tables_.damaged("term '" + rarest +
                             "' has passages by its count and none by its blocks");
    const double others = bounds_[0] - word->term.weight;  // it scores too
    while (!driver.at_end()) {
      if (too_low(others + word->term.weight * driver.block_bound(bm25_))) {
        driver.skip_to(driver.last_row() + 1);
        continue;
      }
      const std::uint64_t row = driver.row();
      const bool has_all = std::all_of(required_.begin(), required_.end(),
                                       [row](PhraseCursor& p) { return p.has_words(row); });
      if (has_all) {
        const std::optional<double> score = score_of(row);
        if (score.has_value() && std::all_of(required_.begin(), required_.end(),
                                             [](PhraseCursor& p) { return p.is_phrase(); }))
          COLLEGIUM_RETURN_IF_ERROR(consider(row, *score));
      }
      driver.skip_to(row + 1);
    }
    return {};
  }

  // What all words give; nothing if the passage cannot be in the result.
  std::optional<double> score_of(std::uint64_t row) {
    candidates_.assign(1, {row, 0.0});
    for (std::size_t i = 0; i < words_.size() && !candidates_.empty(); ++i)
      add_word(words_[i], bounds_[i + 1]);
    if (candidates_.empty()) return std::nullopt;
    return candidates_.front().score;
  }

  Status consider(std::uint64_t row, double score) {
    for (PhraseCursor& phrase : excluded_)
      if (phrase.has_words(row) && phrase.is_phrase()) return {};
    const LiveRows::Place place = rows_.find(row);
    if (place.segment == nullptr)
      return tables_.damaged("row " + std::to_string(row) + " has postings but no passage");
    if (!place.alive) return {};
    top_.add({static_cast<float>(score), place.segment, place.position});
    if (top_.full() && top_.least() > least_) {
      least_ = top_.least();
      // What is below it is, rounded to float, below the least score.
      cutoff_ = static_cast<double>(std::nextafter(least_, 0.0f)) / kRoundingMargin;
    }
    return {};
  }

  const LexicalTables& tables_;
  const std::uint32_t collection_;
  const LexicalState& lexical_;
  const Bm25 bm25_;
  LiveRows rows_;
  TopDocuments top_;
  float least_ = 0.0f;          // top_.least()
  double cutoff_ = 0.0;         // no passage with less can be in the result
  std::vector<Word> words_;     // by descending weight
  std::vector<double> bounds_;  // (words + 1,): what words_[i, ...) can give together
  std::vector<Candidate> candidates_;
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
