#include "lm/generation_batch.h"

#include <algorithm>
#include <utility>

namespace collegium::core {

void GenerationBatch::add(GenerationRun& run) {
  const GenerationRun* best = nullptr;
  std::size_t most = 0;
  for (const GenerationRun* other : runs_) {
    const std::size_t common = run.common_with(*other);
    if (common <= most) continue;
    best = other;
    most = common;
  }
  run.share_with(best, most);
  run.take_over(kept_);
  runs_.push_back(&run);
}

void GenerationBatch::step() {
  const std::size_t width = impl_.model.config().width;
  reading_.clear();
  std::size_t rows = 0, served = 0;
  for (std::size_t i = 0; i < runs_.size() && rows < kBatchRows; ++i) {
    GenerationRun* run = runs_[i];
    if (!run->may_go_on() || run->wait_for_shared()) continue;
    reading_.push_back({run, run->next(kBatchRows - rows), rows});
    rows += reading_.back().step.ids.size();
    served = i + 1;
  }
  hidden_.resize(rows * width);
  read_all();

  choosing_.clear();
  last_rows_.clear();
  for (const Reading& reading : reading_) {
    if (reading.run->done()) continue;
    const std::size_t wanted = reading.run->was_read(reading.step);
    choosing_.insert(choosing_.end(), wanted, reading.run);
    const float* end = hidden_.data() + (reading.row + reading.step.ids.size()) * width;
    last_rows_.insert(last_rows_.end(), end - wanted * width, end);
  }
  choose_all();
  std::rotate(runs_.begin(), runs_.begin() + static_cast<std::ptrdiff_t>(served), runs_.end());
  remove_done();
}

void GenerationBatch::remove_done() {
  std::vector<GenerationRun*> gone;
  std::erase_if(runs_, [&](GenerationRun* run) {
    if (run->done()) gone.push_back(run);
    return run->done();
  });
  for (GenerationRun* run : gone) {
    for (GenerationRun* other : runs_) other->forget(*run);
    run->keep(kept_);
  }
}

void GenerationBatch::read_all() {
  const std::size_t width = impl_.model.config().width;
  const auto read_alone = [&](const Reading& reading) {
    const Status status =
        impl_.model.forward({&reading.step, 1}, hidden_.data() + reading.row * width);
    if (!status.ok()) reading.run->fail(status.with_context("generate"));
  };
  // The shared pass writes its rows one behind the other, so its runs stand first.
  std::stable_partition(reading_.begin(), reading_.end(),
                        [](const Reading& reading) { return !reading.run->alone(); });
  steps_.clear();
  std::size_t rows = 0;
  for (Reading& reading : reading_) {
    reading.row = rows;
    rows += reading.step.ids.size();
    if (!reading.run->alone()) steps_.push_back(reading.step);
  }
  const std::size_t shared = steps_.size();
  const bool failed = shared != 0 && !impl_.model.forward(steps_, hidden_.data()).ok();
  // Caches are as before then: whose fault it was, each finds out by itself.
  for (std::size_t i = failed ? 0 : shared; i < reading_.size(); ++i) read_alone(reading_[i]);
}

void GenerationBatch::choose_all() {
  const std::size_t width = impl_.model.config().width, vocab = impl_.model.config().vocab;
  const std::size_t most = std::max<std::size_t>(1, kLogitBytes / (vocab * sizeof(float)));
  const GenerationRun* wrong = nullptr;  // whose further rows are of no use
  for (std::size_t begin = 0; begin < choosing_.size(); begin += most) {
    const std::size_t count = std::min(most, choosing_.size() - begin);
    logits_.resize(count * vocab);
    impl_.model.logits(last_rows_.data() + begin * width, count, logits_.data());
    for (std::size_t i = 0; i < count; ++i) {
      GenerationRun* run = choosing_[begin + i];
      if (run == wrong) continue;
      wrong = run->choose(std::span(logits_).subspan(i * vocab, vocab)) ? nullptr : run;
    }
  }
}

}  // namespace collegium::core
