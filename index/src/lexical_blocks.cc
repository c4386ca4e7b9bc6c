#include "lexical_blocks.h"

#include <algorithm>
#include <cstring>

namespace collegium::index {
namespace {

constexpr std::size_t kHeaderBytes = 14;

std::size_t width_of(std::uint64_t most) {
  return most <= 0xff ? 1 : most <= 0xffff ? 2 : most <= 0xffffffff ? 4 : 8;
}

void append(std::string& out, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) out.push_back(static_cast<char>(value >> 8 * i & 0xff));
}

template <typename T>
T load(const char* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// `count` numbers of `width` bytes each.
template <typename To>
void load_column(const char* bytes, std::size_t width, std::size_t count, To* out) noexcept {
  const auto all = [&]<typename From>(From) {
    for (std::size_t i = 0; i < count; ++i)
      out[i] = static_cast<To>(load<From>(bytes + i * sizeof(From)));
  };
  switch (width) {
    case 1:
      return all(std::uint8_t{});
    case 2:
      return all(std::uint16_t{});
    case 4:
      return all(std::uint32_t{});
    default:
      return all(std::uint64_t{});
  }
}

// Those pairs that no other beats in both, by descending tf.
std::vector<Impact> impacts_of(std::span<const Posting> postings) {
  std::vector<Impact> pairs;
  for (const Posting& posting : postings) pairs.push_back({posting.tf, posting.length});
  std::sort(pairs.begin(), pairs.end(), [](const Impact& a, const Impact& b) {
    return a.tf != b.tf ? a.tf > b.tf : a.length < b.length;
  });
  std::vector<Impact> best;
  for (const Impact& pair : pairs)
    if (best.empty() || pair.length < best.back().length) best.push_back(pair);
  while (best.size() > PostingBlock::kMaxImpacts) {  // the last two as one that beats both
    const Impact last = best.back();
    best.pop_back();
    best.back().length = last.length;
  }
  return best;
}

}  // namespace

std::string PostingBlock::write(std::span<const Posting> postings) {
  std::uint64_t offsets = 0;
  std::uint64_t tfs = 0;
  std::uint64_t lengths = 0;
  const std::uint64_t base = postings.empty() ? 0 : postings.front().row;
  for (const Posting& posting : postings) {
    offsets = std::max(offsets, posting.row - base);
    tfs = std::max<std::uint64_t>(tfs, posting.tf);
    lengths = std::max<std::uint64_t>(lengths, posting.length);
  }
  const std::vector<Impact> impacts = impacts_of(postings);
  const std::size_t width[] = {width_of(offsets), width_of(tfs), width_of(lengths)};
  std::string out;
  out.reserve(kHeaderBytes + impacts.size() * 8 +
              postings.size() * (width[0] + width[1] + width[2]));
  append(out, base, 8);
  append(out, postings.size(), 2);
  for (const std::size_t bytes : width) append(out, bytes, 1);
  append(out, impacts.size(), 1);
  for (const Impact& impact : impacts) {
    append(out, impact.tf, 4);
    append(out, impact.length, 4);
  }
  for (const Posting& posting : postings) append(out, posting.row - base, width[0]);
  for (const Posting& posting : postings) append(out, posting.tf, width[1]);
  for (const Posting& posting : postings) append(out, posting.length, width[2]);
  return out;
}

bool PostingBlock::read(std::string_view bytes) noexcept {
  if (bytes.size() < kHeaderBytes) return false;
  base_ = load<std::uint64_t>(bytes.data());
  size_ = load<std::uint16_t>(bytes.data() + 8);
  num_impacts_ = static_cast<unsigned char>(bytes[13]);
  impacts_ = bytes.data() + kHeaderBytes;
  std::size_t at = kHeaderBytes + num_impacts_ * 8;
  if (size_ > kMaxPostings || num_impacts_ > kMaxImpacts || (size_ > 0 && num_impacts_ == 0))
    return false;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto width = static_cast<std::size_t>(static_cast<unsigned char>(bytes[10 + i]));
    if ((width != 1 && width != 2 && width != 4 && width != 8) || (i > 0 && width > 4))
      return false;
    width_[i] = width;
    columns_[i] = bytes.data() + std::min(at, bytes.size());
    at += size_ * width;
  }
  return at == bytes.size();
}

std::uint64_t PostingBlock::column(std::size_t which, std::size_t i) const noexcept {
  const char* bytes = columns_[which] + i * width_[which];
  switch (width_[which]) {
    case 1:
      return load<std::uint8_t>(bytes);
    case 2:
      return load<std::uint16_t>(bytes);
    case 4:
      return load<std::uint32_t>(bytes);
    default:
      return load<std::uint64_t>(bytes);
  }
}

Impact PostingBlock::impact(std::size_t i) const noexcept {
  return {load<std::uint32_t>(impacts_ + i * 8), load<std::uint32_t>(impacts_ + i * 8 + 4)};
}

std::size_t PostingBlock::find(std::uint64_t wanted, std::size_t from) const noexcept {
  if (wanted <= base_) return from;
  const std::uint64_t offset = wanted - base_;
  const auto search = [&]<typename T>(T) {
    // Halving without a branch on what is compared.
    std::size_t begin = from;
    for (std::size_t count = size_ - from; count > 0;) {
      const std::size_t half = (count + 1) / 2;
      const bool below = load<T>(columns_[0] + (begin + half - 1) * sizeof(T)) < offset;
      begin += below ? half : 0;
      count = below ? count - half : half - 1;
    }
    return begin;
  };
  switch (width_[0]) {
    case 1:
      return search(std::uint8_t{});
    case 2:
      return search(std::uint16_t{});
    case 4:
      return search(std::uint32_t{});
    default:
      return search(std::uint64_t{});
  }
}

std::vector<Posting> PostingBlock::postings() const {
  std::vector<Posting> all(size_);
  for (std::size_t i = 0; i < size_; ++i) all[i] = {row(i), tf(i), length(i)};
  return all;
}

void PostingBlock::unpack(std::array<std::uint64_t, kMaxPostings>& rows,
                          std::array<double, kMaxPostings>& scores, double flat, double per_word,
                          double weight) const noexcept {
  std::array<double, kMaxPostings> lengths;
  load_column(columns_[0], width_[0], size_, rows.data());
  load_column(columns_[1], width_[1], size_, scores.data());
  load_column(columns_[2], width_[2], size_, lengths.data());
  for (std::size_t i = 0; i < size_; ++i) {
    rows[i] += base_;
    scores[i] = weight * (scores[i] / (scores[i] + (flat + per_word * lengths[i])));
  }
}

void append_positions(std::string& out, std::span<const std::uint32_t> ascending) {
  std::uint32_t before = 0;
  for (const std::uint32_t position : ascending) {
    std::uint32_t rest = position - before;
    before = position;
    for (; rest >= 0x80; rest >>= 7) out.push_back(static_cast<char>((rest & 0x7f) | 0x80));
    out.push_back(static_cast<char>(rest));
  }
}

std::size_t positions_size(std::string_view bytes, std::size_t count) noexcept {
  std::size_t at = 0;
  for (; count > 0 && at < bytes.size(); ++at)
    if ((static_cast<unsigned char>(bytes[at]) & 0x80) == 0) --count;
  return count == 0 ? at : bytes.size() + 1;
}

bool read_positions(std::string_view& bytes, std::size_t count, std::vector<std::uint32_t>& out) {
  std::uint32_t position = 0;
  std::size_t at = 0;
  for (; count > 0; --count) {
    std::uint32_t difference = 0;
    int shift = 0;
    for (;; shift += 7) {
      if (at == bytes.size() || shift > 28) return false;
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      difference |= static_cast<std::uint32_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) break;
    }
    position += difference;
    out.push_back(position);
  }
  bytes.remove_prefix(at);
  return true;
}

}  // namespace collegium::index
