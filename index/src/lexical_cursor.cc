#include "lexical_cursor.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace collegium::index {
Bm25::Bm25(const LexicalSummary& summary) {
  const double mean = summary.passages == 0 ? 0.0
                                            : static_cast<double>(summary.words) /
                                                  static_cast<double>(summary.passages);
  const LexicalSettings& s = summary.settings;
  flat = s.k1 * (1.0 - s.b);
  per_word = mean > 0.0 ? s.k1 * s.b / mean : 0.0;
}

double Bm25::idf(std::uint64_t passages, std::uint64_t df) {
  const auto n = static_cast<double>(passages);
  const auto with = static_cast<double>(df);
  return std::log1p((n - with + 0.5) / (with + 0.5));
}

Result<std::shared_ptr<const TermPostings>> find_postings(const LexicalTables& tables,
                                                          std::uint32_t collection,
                                                          const LexicalState& lexical,
                                                          std::string_view term) {
  auto cached = lexical.cache->find(collection, term, lexical.commit_seq);
  if (cached != nullptr) return cached;
  COLLEGIUM_ASSIGN_OR_RETURN(auto postings,
                             TermPostings::load(tables, lexical.snapshot.get(), collection, term));
  lexical.cache->insert(collection, term, lexical.commit_seq, postings);
  return postings;
}

void PostingCursor::enter(std::size_t block) {
  number_ = block;
  if (block >= postings_->num_blocks()) {
    loaded_ = nullptr;
    return;
  }
  loaded_ = &postings_->block(block);
  at_ = 0;
  row_ = loaded_->block().base();
  last_row_ = loaded_->last_row();
  bound_ = -1.0;
  unpacked_ = false;
}

void PostingCursor::skip_to(std::uint64_t row) {
  skip_to_block(row);
  if (at_end() || row_ >= row) return;
  at_ = block().find(row, at_);
  row_ = block().row(at_);
}

double PostingCursor::block_bound(const Bm25& bm25) {
  if (bound_ >= 0.0) return bound_;
  for (std::size_t i = 0; i < block().num_impacts(); ++i) {
    const Impact impact = block().impact(i);
    bound_ = std::max(bound_, bm25.saturation(impact.tf, impact.length));
  }
  return bound_;
}

void PostingCursor::unpack(double weight, const Bm25& bm25) {
  if (unpacked_) return;
  if (columns_ == nullptr) columns_ = std::make_unique<Unpacked>();
  block().unpack(columns_->rows, columns_->scores, bm25.flat, bm25.per_word, weight);
  unpacked_ = true;
}

std::uint64_t PostingCursor::add_up(std::uint64_t begin, std::uint64_t end, double weight,
                                    const Bm25& bm25, std::span<double> sums) {
  std::uint64_t groups = 0;
  double* const sum = sums.data();
  while (!at_end() && row_ < end) {
    unpack(weight, bm25);
    const std::uint64_t* const rows = columns_->rows.data();
    const double* const scores = columns_->scores.data();
    const std::size_t size = block().size();
    std::size_t i = at_;
    for (; i < size && rows[i] < end; ++i) {
      const std::uint64_t d = rows[i] - begin;
      sum[d] += scores[i];
      groups |= std::uint64_t{1} << (d / 64);
    }
    if (i < size) {
      at_ = i;
      row_ = rows[i];
      break;
    }
    enter(number_ + 1);
  }
  return groups;
}

Result<PhraseCursor> PhraseCursor::open(const LexicalTables& tables, std::uint32_t collection,
                                        const LexicalState& lexical, std::span<const Word> words) {
  PhraseCursor phrase;
  phrase.tables_ = tables;
  phrase.collection_ = collection;
  phrase.snapshot_ = lexical.snapshot.get();
  for (const Word& word : words) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto postings,
                               find_postings(tables, collection, lexical, word.term));
    phrase.parts_.push_back({word, PostingCursor(std::move(postings)), nullptr, {}, {}});
  }
  std::stable_sort(phrase.parts_.begin(), phrase.parts_.end(),
                   [](const Part& a, const Part& b) { return a.cursor.df() < b.cursor.df(); });
  return phrase;
}

std::uint64_t PhraseCursor::df() const noexcept { return parts_.front().cursor.df(); }
const std::string& PhraseCursor::rarest() const noexcept { return parts_.front().word.term; }

bool PhraseCursor::has_words(std::uint64_t row) {
  for (Part& part : parts_)
    if (!part.cursor.find(row)) return false;
  return true;
}

bool PhraseCursor::is_phrase() {
  if (parts_.size() == 1) return true;
  for (Part& part : parts_) {
    if (const Status status = load_positions(part); !status.ok()) {
      if (status_.ok()) status_ = status;
      return false;
    }
  }
  const auto positions = [](const Part& part) {
    const std::size_t at = part.cursor.at();
    return std::span(part.positions)
        .subspan(part.begins[at], part.begins[at + 1] - part.begins[at]);
  };
  const Part& first = parts_.front();
  for (const std::uint32_t position : positions(first)) {
    if (position < first.word.offset) continue;
    const std::uint32_t begin = position - first.word.offset;
    const auto has = [&](const Part& part) {
      const auto all = positions(part);
      return std::binary_search(all.begin(), all.end(), begin + part.word.offset);
    };
    if (std::all_of(parts_.begin() + 1, parts_.end(), has)) return true;
  }
  return false;
}

Status PhraseCursor::load_positions(Part& part) {
  const LoadedBlock& loaded = part.cursor.loaded();
  if (&loaded == part.block) return {};
  std::string key = term_key(collection_, part.word.term);
  if (loaded.key_row() != LoadedBlock::kLast) key = block_key(std::move(key), loaded.key_row());
  COLLEGIUM_ASSIGN_OR_RETURN(const auto bytes, tables_.get(tables_.positions, key, snapshot_));
  if (!bytes.has_value()) return tables_.damaged("positions of postings are missing");
  part.positions.clear();
  part.begins.assign(1, 0);
  std::string_view rest = *bytes;
  for (std::size_t i = 0; i < loaded.block().size(); ++i) {
    if (!read_positions(rest, loaded.block().tf(i), part.positions))
      return tables_.damaged("positions of postings are malformed");
    part.begins.push_back(part.positions.size());
  }
  if (!rest.empty()) return tables_.damaged("positions of postings are malformed");
  part.block = &loaded;
  return {};
}

}  // namespace collegium::index
