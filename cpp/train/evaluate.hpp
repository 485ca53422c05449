// SPDX-License-Identifier: MIT
/// Forward passes over whole data sets, a chunk at a time.
#pragma once

#include <functional>

#include "nn/loss.hpp"
#include "nn/network.hpp"
#include "train/array_view.hpp"
#include "train/gather.hpp"
#include "train/trainer.hpp"

namespace schuss {

struct Evaluation {
  RunStatus status = RunStatus::kDone;  // kDone, kStopped, kBadFeature, kBadTarget, kAllIgnored
  double loss = 0.0;                    // reduced as the loss says, over all rows at once
  BadElement bad;
};

/// The loss of a data set, in evaluation mode. Memory: one chunk. The bits do not depend on how the
/// rows would be batched in training.
Evaluation evaluate(const Network& network, const LossSpec& loss, const ArrayView& x,
                    const ArrayView& target, const Poll& poll);

/// to[r*ld + c] = prediction of row r, for all rows; `to` is of the network's dtype, ld >= n_out.
/// kDone, kStopped or kBadFeature. A row's bits do not depend on the other rows.
RunStatus predict(const Network& network, const ArrayView& x, void* to, index_t ld, BadElement* bad,
                  const Poll& poll);

/// Rows whose prediction is right: class of the largest output (the lowest of equals, NaN above all)
/// for two columns or more, output > threshold for one. Labels that are `ignore_index` count as
/// wrong nowhere: `counted` gets how many rows were looked at.
RunStatus count_correct(const Network& network, const ArrayView& x, const ArrayView& labels,
                        double threshold, std::int64_t ignore_index, index_t* correct,
                        index_t* counted, BadElement* bad, const Poll& poll);

}  // namespace schuss
