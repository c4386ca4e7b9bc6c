#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "collegium/index/corpus.h"

namespace collegium::index {

// What the writer that gets killed does at each step, so that the test can say what must be there
// after any number of them: three puts (new or replacing) and one removal, one commit.
struct CrashScript {
  static constexpr std::size_t kDim = 8;
  std::map<std::string, std::uint64_t> documents;  // id -> the step that put it

  static NewDocument make(const std::string& id, std::uint64_t step) {
    NewDocument made;
    made.document = {id, "", id + " at step " + std::to_string(step), ""};
    for (std::uint64_t i = 0; i <= step % 3; ++i) {
      made.passages.push_back({{0, made.document.text.size()}, ""});
      for (std::size_t j = 0; j < kDim; ++j)
        made.vectors.push_back(static_cast<float>((step + i * 7 + j * 13) % 17));
    }
    return made;
  }

  // Does step `step` to `documents` and, if given, to `writes`.
  void advance(std::uint64_t step, WriteSet* writes) {
    for (const std::uint64_t slot : {step % 40, 40 + step % 7, 50 + step % 11}) {
      const std::string id = "d" + std::to_string(slot);
      documents[id] = step;
      if (writes != nullptr) writes->put_document("law", make(id, step));
    }
    const std::string gone = "d" + std::to_string((step + 20) % 40);
    if (documents.erase(gone) == 1 && writes != nullptr) writes->remove_document("law", gone);
    if (writes != nullptr) writes->put_record("step", std::to_string(step));
  }

  static CrashScript after(std::uint64_t steps) {
    CrashScript script;
    for (std::uint64_t step = 1; step <= steps; ++step) script.advance(step, nullptr);
    return script;
  }
};

}  // namespace collegium::index
