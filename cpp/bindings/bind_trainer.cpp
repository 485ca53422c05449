// SPDX-License-Identifier: MIT
/// The native loop, evaluation, and the batches that a DataLoader shares with it.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "base/permutation.hpp"
#include "base/text.hpp"
#include "bindings/common.hpp"
#include "nn/shards.hpp"
#include "train/evaluate.hpp"
#include "train/take_rows.hpp"
#include "train/trainer.hpp"

namespace schuss::bindings {
namespace {

py::object plain(const py::object& data) {
  return py::isinstance<Tensor>(data) ? py::object(to_numpy(data.cast<TensorPtr>())) : data;
}

/// A data set that fits a network and a loss.
struct DataSet {
  InputArray x;
  InputArray y;
  LossSpec loss;

  DataSet(const CallableNetwork& callable, const PyLoss& py_loss, const py::object& x_object,
          const py::object& y_object) {
    const Network& network = callable.network();
    const index_t cols = network.n_in() > 0 ? network.n_in() : -1;
    x = parse_features(plain(x_object), "X", cols, network.input_label());
    if (py_loss.spec.reduction == Reduction::kNone) {
      throw ValueError(
          "loss: reduction is \"none\"; training and evaluation need \"mean\" or \"sum\"");
    }
    loss = py_loss.bind(plain(y_object), "y", x.view.rows, network.n_out(x.view.cols), py_loss.name,
                        &y);
  }
};

[[noreturn]] void raise_bad_element(const BadElement& bad, bool feature, const DataSet& data,
                                    DType dtype) {
  if (!feature && takes_labels(data.loss.kind)) {
    throw ValueError("y[" + std::to_string(bad.row) + "] is " + shortest_text(bad.value) +
                     ", out of range: the array was changed while it was in use");
  }
  throw ValueError(
      overflow_message(bad, feature ? data.x : data.y, feature ? "X" : "y", dtype_name(dtype)));
}

struct NonFiniteType {
  static py::object& get() {
    static py::object* type = new py::object();  // lives as long as the interpreter
    return *type;
  }
};

class PyTrainer {
 public:
  PyTrainer(std::shared_ptr<CallableNetwork> network, const PyLoss& loss,
            std::shared_ptr<Optimizer> optimizer, const py::object& x, const py::object& y,
            std::optional<index_t> batch_size, bool shuffle, bool drop_last, std::uint64_t seed,
            std::uint64_t first_epoch, bool restore, index_t first_step, index_t shards)
      : network_(std::move(network)),
        optimizer_(std::move(optimizer)),
        data_(*network_, loss, x, y) {
    if (batch_size && *batch_size <= 0) {
      throw ValueError("batch_size: got " + std::to_string(*batch_size) +
                       "; expected a positive number, or None for all rows");
    }
    if (drop_last && batch_size && *batch_size > data_.x.view.rows) {
      throw ValueError("drop_last: the only batch (" + std::to_string(data_.x.view.rows) +
                       " rows) is shorter than batch_size = " + std::to_string(*batch_size) +
                       " and would be dropped; use a smaller batch_size");
    }
    if (!is_shard_count(shards)) {
      throw ValueError("shards: got " + std::to_string(shards) + "; expected 1, 2, 4 or 8");
    }
    check_parameters();
    trainer_ = make_trainer(network_->shared_network(), data_.loss, *optimizer_, data_.x.view,
                            data_.y.view,
                            {batch_size.value_or(0), shuffle && batch_size.has_value(), drop_last,
                             seed, first_epoch, first_step, restore, shards});
  }

  std::string run(index_t epochs, double seconds) {
    RunStatus status = RunStatus::kDone;
    {
      const BusyGuard guard(network_->busy(), "the model");
      // Arrays are held, the model and the optimizer guarded: only the poll needs the GIL.
      const py::gil_scoped_release release;
      status = trainer_->run(epochs, seconds, [] { return !signal_pending(); });
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    return finish(status);
  }

  py::array losses_from(index_t first) const {
    const std::vector<double>& all = trainer_->losses();
    const auto size = static_cast<index_t>(all.size());
    const index_t begin = std::clamp<index_t>(first, 0, size);
    return py::array_t<double>(size - begin, all.data() + begin);
  }
  index_t epochs_done() const { return trainer_->epochs_done(); }
  int threads() const { return trainer_->threads(); }
  index_t steps_done() const { return trainer_->steps_done(); }
  index_t steps_per_epoch() const { return trainer_->steps_per_epoch(); }

 private:
  void check_parameters() const {
    const Optimizer::Slot* other = optimizer_->slot_outside(network_->network().parameters());
    if (other == nullptr) return;
    throw ValueError("optimizer: a parameter of shape " + to_string(other->parameter->shape) +
                     " is not one of the model's; build the optimizer from model.parameters()");
  }

  std::string finish(RunStatus status) {
    const Failure& failure = trainer_->failure();
    const DType dtype = network_->network().dtype();
    switch (status) {
      case RunStatus::kDone:
        return "done";
      case RunStatus::kTime:
        return "time";
      case RunStatus::kStopped:
        throw py::error_already_set();
      case RunStatus::kBadFeature:
      case RunStatus::kBadTarget:
        raise_bad_element(failure.bad, status == RunStatus::kBadFeature, data_, dtype);
      case RunStatus::kAllIgnored:
        throw ValueError("y: every label of epoch " + std::to_string(failure.epoch) + ", step " +
                         std::to_string(failure.step) +
                         " is ignore_index; use a larger batch_size, or drop those rows");
      case RunStatus::kNonFinite:
        break;
    }
    py::set_error(NonFiniteType::get(), py::make_tuple("the loss is not finite", failure.epoch,
                                                       failure.step, failure.parameter));
    throw py::error_already_set();
  }

  std::shared_ptr<CallableNetwork> network_;
  std::shared_ptr<Optimizer> optimizer_;
  DataSet data_;
  std::unique_ptr<Trainer> trainer_;
};

double evaluate_all(CallableNetwork& network, const PyLoss& loss, const py::object& x,
                    const py::object& y) {
  const DataSet data(network, loss, x, y);
  Evaluation result;
  {
    const BusyGuard guard(network.busy(), "the model");
    // As in PyTrainer::run.
    const py::gil_scoped_release release;
    result = evaluate(network.network(), data.loss, data.x.view, data.y.view,
                      [] { return !signal_pending(); });
  }
  if (result.status == RunStatus::kStopped) throw py::error_already_set();
  if (result.status == RunStatus::kBadFeature || result.status == RunStatus::kBadTarget) {
    raise_bad_element(result.bad, result.status == RunStatus::kBadFeature, data,
                      network.network().dtype());
  }
  if (result.status == RunStatus::kAllIgnored) {
    throw ValueError("y: every label is ignore_index; there is nothing to evaluate");
  }
  return result.loss;
}

/// The share of rows whose class is predicted right.
double accuracy_of(CallableNetwork& network, const py::object& x, const py::object& y,
                   double threshold, std::int64_t ignore_index) {
  const Network& net = network.network();
  const index_t n_in = net.n_in() > 0 ? net.n_in() : -1;
  const InputArray features = parse_features(plain(x), "X", n_in, net.input_label());
  const index_t width = net.n_out(features.view.cols);
  const InputArray labels = parse_labels(plain(y), "y", features.view.rows, "accuracy");
  check_labels(labels, "y", width == 1 ? 2 : width, ignore_index, "accuracy");
  index_t correct = 0;
  index_t counted = 0;
  BadElement bad;
  RunStatus status = RunStatus::kDone;
  {
    const BusyGuard guard(network.busy(), "the model");
    // As in PyTrainer::run.
    const py::gil_scoped_release release;
    status = count_correct(net, features.view, labels.view, threshold, ignore_index, &correct,
                           &counted, &bad, [] { return !signal_pending(); });
  }
  if (status == RunStatus::kStopped) throw py::error_already_set();
  if (status == RunStatus::kBadFeature) {
    throw ValueError(overflow_message(bad, features, "X", dtype_name(net.dtype())));
  }
  return static_cast<double>(correct) / static_cast<double>(counted);
}

py::array batch_rows(index_t n_rows, index_t first, index_t count, std::uint64_t seed,
                     std::uint64_t epoch) {
  py::array_t<index_t> rows(count);
  const Permutation permutation(static_cast<std::uint64_t>(n_rows), seed, epoch);
  permutation.fill(static_cast<std::uint64_t>(first), count, rows.mutable_data());
  return rows;
}

/// array[rows] of numbers that lie in order.
py::array take_rows_of(const py::array& array, const py::array_t<index_t>& rows) {
  if (array.ndim() < 1 || rows.ndim() != 1 || (array.flags() & py::array::c_style) == 0 ||
      (rows.flags() & py::array::c_style) == 0 || array.dtype().kind() == 'O') {
    throw TypeError("take_rows: expected a C-contiguous array of numbers and a vector of rows");
  }
  const index_t n = array.shape(0);
  for (index_t i = 0; i < rows.size(); ++i) {
    const index_t row = rows.data()[i];
    if (row < 0 || row >= n) {
      throw py::index_error("rows: got " + std::to_string(row) + "; expected 0 to " +
                            std::to_string(n - 1));
    }
  }
  std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
  shape[0] = rows.size();
  py::array chosen(array.dtype(), shape);
  const index_t bytes = n == 0 ? 0 : array.nbytes() / n;
  const auto* from = static_cast<const std::byte*>(array.data());
  auto* to = static_cast<std::byte*>(chosen.mutable_data());
  const index_t* numbers = rows.data();
  const index_t count = rows.size();
  {
    const py::gil_scoped_release release;  // the arguments are held by the caller
    take_rows(from, bytes, numbers, count, bytes, to);
  }
  return chosen;
}

}  // namespace

void register_trainer(py::module_& m) {
  NonFiniteType::get() = py::reinterpret_steal<py::object>(
      PyErr_NewException("schuss._schuss.NonFinite", PyExc_RuntimeError, nullptr));
  m.attr("NonFinite") = NonFiniteType::get();

  py::class_<PyTrainer>(m, "Trainer", "Trains natively; may be run in pieces.")
      .def(py::init<std::shared_ptr<CallableNetwork>, const PyLoss&, std::shared_ptr<Optimizer>,
                    const py::object&, const py::object&, std::optional<index_t>, bool, bool,
                    std::uint64_t, std::uint64_t, bool, index_t, index_t>(),
           py::arg("network"), py::arg("loss"), py::arg("optimizer"), py::arg("X"), py::arg("y"),
           py::arg("batch_size"), py::arg("shuffle"), py::arg("drop_last"), py::arg("seed"),
           py::arg("first_epoch"), py::arg("restore"), py::arg("first_step") = 0,
           py::arg("shards") = 1)
      .def("run", &PyTrainer::run, py::arg("epochs"), py::arg("seconds"),
           "Trains until that many epochs are done in all, or that much time has passed.")
      .def("losses_from", &PyTrainer::losses_from, py::arg("first"),
           "Losses of the epochs that are done, from epoch `first` on.")
      .def_property_readonly("epochs_done", &PyTrainer::epochs_done)
      .def_property_readonly("threads", &PyTrainer::threads, "Threads that share a step's work.")
      .def_property_readonly("steps_done", &PyTrainer::steps_done)
      .def_property_readonly("steps_per_epoch", &PyTrainer::steps_per_epoch);

  m.def("evaluate", &evaluate_all, py::arg("network"), py::arg("loss"), py::arg("X"), py::arg("y"),
        "The loss over all rows; working memory does not grow with them.");
  m.def("accuracy", &accuracy_of, py::arg("network"), py::arg("X"), py::arg("y"),
        py::arg("threshold"), py::arg("ignore_index") = -100,
        "Share of rows whose class is right.");
  m.def("take_rows", &take_rows_of, py::arg("array"), py::arg("rows"),
        "array[rows] of C-contiguous numbers, fetched ahead and shared by threads.");
  m.def("batch_rows", &batch_rows, py::arg("n_rows"), py::arg("first"), py::arg("count"),
        py::arg("seed"), py::arg("epoch"),
        "Row numbers at positions first..first+count-1 of an epoch's shuffled order.");
}

}  // namespace schuss::bindings
