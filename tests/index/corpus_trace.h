#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "corpus_contents.h"

namespace collegium::index {

// What fault_shim.cc recorded.
struct TraceStep {
  char type = 0;  // c create, b known before, w write, t truncate, s sync a
                  // file, d sync a folder, r rename, u unlink, m make a folder, a printed by the
                  // writer
  std::uint64_t file = 0;
  std::uint64_t at = 0;  // offset, or size
  std::string text;      // path, two paths with a newline between, or bytes
};

inline std::vector<TraceStep> read_trace(const std::string& path) {
  const std::string bytes = read_bytes(path);
  std::vector<TraceStep> steps;
  for (std::size_t at = 0; at + 21 <= bytes.size();) {
    TraceStep step;
    std::uint32_t size = 0;
    step.type = bytes[at];
    std::memcpy(&step.file, bytes.data() + at + 1, 8);
    std::memcpy(&step.at, bytes.data() + at + 9, 8);
    std::memcpy(&size, bytes.data() + at + 17, 4);
    step.text = bytes.substr(at + 21, size);
    at += 21 + size;
    steps.push_back(std::move(step));
  }
  return steps;
}

// A disk with a cache before it. Contents of a file are safe once it is synced, names in a folder
// once the folder is; what is not safe may be lost when the power goes, in any order within a file
// and sector by sector, from the end within a folder, as a journal loses it.
class TracedDisk {
 public:
  // `begin` is the folder as it was before the trace, `folder` where the trace saw it.
  TracedDisk(const std::string& begin, std::string folder) : folder_(std::move(folder)) {
    if (!std::filesystem::exists(begin)) return;
    folders_.insert(folder_);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(begin)) {
      const std::string path =
          folder_ + "/" + std::filesystem::relative(entry.path(), begin).string();
      if (entry.is_directory()) {
        folders_.insert(path);
        continue;
      }
      const std::uint64_t id = --before_;
      files_[id].safe = files_[id].now = read_bytes(entry.path());
      names_[path] = safe_names_[path] = id;
    }
  }

  void apply(const TraceStep& step) {
    File& file = files_[step.file];
    switch (step.type) {
      case 'b':  // the numbers differ
        file = files_[names_.at(step.text)];
        rename_id(names_.at(step.text), step.file);
        break;
      case 'c':
        change_name({step.text, step.file, ""});
        break;
      case 'w':
      case 't':
        change(file.now, step);
        file.unsafe.push_back(step);
        break;
      case 's':
        file.safe = file.now;
        file.unsafe.clear();
        break;
      case 'd':
        sync_folder(step.text);
        break;
      case 'r': {
        const std::size_t cut = step.text.find('\n');
        const std::string from = step.text.substr(0, cut);
        change_name({step.text.substr(cut + 1), names_.at(from), from});
        break;
      }
      case 'u':
        change_name({"", 0, step.text});
        break;
      case 'm':
        folders_.insert(step.text);  // taken for safe: nobody has acknowledged
                                     // anything without it
        break;
      default:
        break;
    }
  }

  // After a crash of the process alone.
  void write_all(const std::string& to) const {
    write(to, names_, [](const File& file) { return file.now; });
  }

  // After a power cut. `keep` 0: nothing that was not safe is left, 1: some of it.
  void write_after_power_cut(const std::string& to, bool keep, std::mt19937& random) const {
    std::map<std::string, std::uint64_t> names = safe_names_;
    for (const auto& [folder, changes] : unsafe_names_) {
      const std::size_t kept = keep ? random() % (changes.size() + 1) : 0;
      for (std::size_t i = 0; i < kept; ++i) change_in(names, changes[i]);
    }
    write(to, names, [&](const File& file) {
      std::string bytes = file.safe;
      if (!keep) return bytes;
      const unsigned share = random() % 5;  // 0: none, 4: all
      for (const TraceStep& step : file.unsafe) {
        if (step.type == 't') {
          if (random() % 4 < share) change(bytes, step);
          continue;
        }
        for (std::size_t begin = 0; begin < step.text.size(); begin += 512)
          if (random() % 4 < share) {
            TraceStep sector = step;
            sector.at = step.at + begin;
            sector.text = step.text.substr(begin, 512);
            change(bytes, sector);
          }
      }
      return bytes;
    });
  }

 private:
  struct File {
    std::string safe, now;
    std::vector<TraceStep> unsafe;
  };
  struct NameChange {
    std::string added;  // or empty
    std::uint64_t file = 0;
    std::string removed;  // or empty
  };

  static void change(std::string& bytes, const TraceStep& step) {
    if (step.type == 't') {
      bytes.resize(step.at, '\0');
      return;
    }
    if (bytes.size() < step.at + step.text.size()) bytes.resize(step.at + step.text.size(), '\0');
    bytes.replace(step.at, step.text.size(), step.text);
  }
  static void change_in(std::map<std::string, std::uint64_t>& names, const NameChange& change) {
    if (!change.removed.empty()) names.erase(change.removed);
    if (!change.added.empty()) names[change.added] = change.file;
  }
  void change_name(const NameChange& change) {
    change_in(names_, change);
    const std::string& path = change.added.empty() ? change.removed : change.added;
    unsafe_names_[std::filesystem::path(path).parent_path().string()].push_back(change);
  }
  void sync_folder(const std::string& path) {
    for (const NameChange& change : unsafe_names_[path]) change_in(safe_names_, change);
    unsafe_names_.erase(path);
  }
  void rename_id(std::uint64_t from, std::uint64_t to) {
    for (auto* names : {&names_, &safe_names_})
      for (auto& [path, id] : *names)
        if (id == from) id = to;
    for (auto& [folder, changes] : unsafe_names_)
      for (NameChange& change : changes)
        if (change.file == from) change.file = to;
    files_.erase(from);
  }
  template <typename Bytes>
  void write(const std::string& to, const std::map<std::string, std::uint64_t>& names,
             Bytes bytes_of) const {
    namespace fs = std::filesystem;
    fs::remove_all(to);
    for (const std::string& folder : folders_) {
      fs::create_directories(to + folder.substr(folder_.size()));
      fs::permissions(to + folder.substr(folder_.size()), fs::perms::owner_all);
    }
    for (const auto& [path, id] : names)
      if (const auto file = files_.find(id); file != files_.end())
        write_bytes(to + path.substr(folder_.size()), bytes_of(file->second));
  }

  const std::string folder_;
  std::uint64_t before_ = ~std::uint64_t{0};
  std::map<std::uint64_t, File> files_;
  std::map<std::string, std::uint64_t> names_, safe_names_;      // path -> file
  std::map<std::string, std::vector<NameChange>> unsafe_names_;  // by folder
  std::set<std::string> folders_;
};

}  // namespace collegium::index
