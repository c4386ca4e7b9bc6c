#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "collegium/index/corpus.h"

namespace collegium::index {

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}
inline void copy_folder(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

// Everything a reader can learn, as one string; or the first failure.
inline Result<std::string> contents(const Corpus& open_corpus) {
  const Corpus* corpus = &open_corpus;
  std::string all = std::to_string(corpus->commit_seq());
  for (const std::string& name : corpus->collections()) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto view, corpus->view(name));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto info, corpus->collection_info(name));
    all += "|" + name + "," + std::to_string(info.documents);
    for (std::size_t d = 0; d < view->num_documents(); ++d) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto stored,
                                 corpus->stored_document(name, view->document_id(d)));
      all += "|" + stored.document.id + "," + stored.document.title + "," + stored.document.text +
             "," + stored.document.metadata;
      all.append(reinterpret_cast<const char*>(stored.vectors.data()),
                 stored.vectors.size() * sizeof(float));
      for (const core::PassageSpan& passage : stored.passages)
        all += std::to_string(passage.bytes.begin) + "-" + std::to_string(passage.bytes.end) +
               passage.section;
    }
    all.append(reinterpret_cast<const char*>(view->vectors().data()), view->vectors().size_bytes());
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto hits, corpus->search(name, std::vector<float>(corpus->options().dim, 1.0f), 9));
    for (const Hit& hit : hits) all += "|" + hit.document_id + std::to_string(hit.score);
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto records, corpus->records(""));
  for (const auto& [key, value] : records) all += "|" + key + "=" + value;
  return all;
}

inline Result<std::string> contents(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto corpus, Corpus::open(path));
  return contents(*corpus);
}

// Paths of the files below `path`, relative to it, sorted. The store may remove some meanwhile.
inline std::vector<std::string> files_in(const std::string& path) {
  std::vector<std::string> files;
  std::error_code gone;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
    if (entry.is_regular_file(gone))
      files.push_back(entry.path().lexically_relative(path).string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace collegium::index
