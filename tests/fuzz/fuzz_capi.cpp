// Descriptors from random bytes: hostile ranks, shapes, strides, dtypes, sizes of the structure. Every one is planned; those whose
// tensors would stay inside small buffers also run, where AddressSanitizer watches the bounds. A refused call writes nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cumulus/cumulus.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// Values taken from the front of the input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  template <class T>
  T take() {
    T value{};
    const std::size_t n = std::min(sizeof value, size_);
    if (n > 0) std::memcpy(&value, data_, n);
    data_ += n;
    size_ -= n;
    return value;
  }
  std::uint8_t byte() { return take<std::uint8_t>(); }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// Mostly small numbers, so that some calls are valid; sometimes anything at all.
std::int64_t number(Bytes& bytes, int low, int high) {
  const std::uint8_t how = bytes.byte();
  if (how >= 248) return bytes.take<std::int64_t>();
  return low + how % (high - low + 1);
}

struct Tensor {
  cumulus_tensor view{};
  std::vector<std::int64_t> shape, strides;
  std::vector<std::uint8_t> memory;
  bool inside = true;  // every element lies in memory, as far as can be told

  void decode(Bytes& bytes, const Tensor* like) {
    const std::uint8_t flags = bytes.byte();
    if (like && (flags & 1)) {  // the shape and dtype of another: valid calls need it
      view = like->view;
      shape = like->shape;
    } else {
      view.dtype = static_cast<std::int32_t>(number(bytes, 0, 16));
      view.rank = static_cast<std::int32_t>(number(bytes, 0, 4));
      shape.assign(static_cast<std::size_t>(std::clamp(view.rank, 0, 70)), 1);
      for (auto& n : shape) n = number(bytes, 0, 9);
    }
    if (flags & 2) view.dtype = static_cast<std::int32_t>(number(bytes, 0, 16));
    if (flags & 64) {
      for (auto& n : shape) n = std::min<std::int64_t>(n, 1);
    }
    view.device = (flags & 4) && (flags & 8) ? static_cast<std::int32_t>(number(bytes, 0, 2)) : 0;
    view.device_index = view.device ? static_cast<std::int32_t>(number(bytes, 0, 1)) : 0;
    strides.clear();
    if (flags & 16) {
      for (std::size_t i = 0; i < shape.size(); ++i) strides.push_back(number(bytes, -12, 40));
    }
    // Pointers to arrays shorter than rank would be the caller's own fault: null stands for them.
    const bool told = view.rank >= 0 && static_cast<std::size_t>(view.rank) == shape.size();
    view.shape = told && !((flags & 32) && (flags & 4)) ? shape.data() : nullptr;
    view.strides = told && !strides.empty() ? strides.data() : nullptr;
    place(bytes, (flags & 128) && (flags & 4));
  }

  // Memory that just holds the tensor, if that is little; else none.
  void place(Bytes& bytes, bool misalign) {
    view.data = nullptr;
    inside = false;
    const auto element = static_cast<__int128>(cumulus_dtype_size(view.dtype));
    if (element == 0 || !view.shape) return;
    __int128 low = 0, high = 0, dense = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (shape[i] < 0 || shape[i] > 4096) return;
      const __int128 step = view.strides ? strides[i] : dense;
      const __int128 reach = step * (shape[i] > 0 ? shape[i] - 1 : 0);
      (reach < 0 ? low : high) += reach;
      dense *= std::max<std::int64_t>(shape[i], 1);
      if (low < -65536 || high > 65536 || dense > 65536) return;
    }
    const auto count = static_cast<std::size_t>((high - low + 1) * element);
    memory.resize(count + (misalign ? 1 : 0));
    for (auto& b : memory) b = static_cast<std::uint8_t>(41 * (&b - memory.data()) + 7);
    if (!memory.empty()) memory[0] = bytes.byte();
    view.data = memory.data() + static_cast<std::ptrdiff_t>(-low * element) + (misalign ? 1 : 0);
    inside = true;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const std::uint8_t shape_of_call = bytes.byte();
  Tensor in, in2, out, mask, initial, total;
  in.decode(bytes, nullptr);
  out.decode(bytes, &in);
  if (shape_of_call & 1) in2.decode(bytes, &in);
  if (shape_of_call & 2) mask.decode(bytes, &in);
  if (shape_of_call & 4) initial.decode(bytes, &in);
  if (shape_of_call & 8) total.decode(bytes, &in);

  cumulus_scan_args args{};
  args.op = static_cast<std::int32_t>(number(bytes, 0, 5));
  args.kind = static_cast<std::int32_t>(number(bytes, 0, 3));
  args.axis = static_cast<std::int32_t>(number(bytes, -4, 4));
  args.flags = static_cast<std::uint32_t>(number(bytes, 0, 3));
  args.threads = static_cast<std::int32_t>(std::min<std::int64_t>(number(bytes, 0, 2), 4));
  args.in = in.view;
  args.in2 = in2.view;
  args.out = out.view;
  args.mask = mask.view;
  args.initial = initial.view;
  args.total = total.view;
  if ((shape_of_call & 16) && in.inside && out.view.rank == in.view.rank) {  // in place
    args.out.data = in.view.data;
    args.out.strides = in.view.strides;
    out.inside = args.out.dtype == in.view.dtype && args.out.shape && out.shape == in.shape;
  }
  if ((shape_of_call & 32) && initial.inside && shape_of_call & 4 && total.shape == initial.shape &&
      total.view.dtype == initial.view.dtype && total.strides == initial.strides) {
    args.total.data = initial.view.data;
  }

  // A caller compiled against another version has a structure of another size: its bytes end there.
  args.struct_size = sizeof args;
  if ((shape_of_call & 64) && (shape_of_call & 128)) args.struct_size = static_cast<std::uint32_t>(number(bytes, 0, 400));
  std::vector<std::uint8_t> sized(std::max<std::size_t>(std::min<std::size_t>(args.struct_size, 4096), sizeof(std::uint32_t)));
  std::memcpy(sized.data(), &args, std::min(sized.size(), sizeof args));
  if (args.struct_size > sized.size()) return 0;  // this much memory is not there
  const auto* call = reinterpret_cast<const cumulus_scan_args*>(sized.data());

  char text[256];
  std::size_t needed = 0;
  const cumulus_status planned = cumulus_plan(call, text, bytes.byte(), &needed);
  require(planned == CUMULUS_OK ? needed > 1 : cumulus_last_error()[0] != '\0');

  const bool present[] = {true, true, args.in2.dtype != 0, args.mask.dtype != 0, args.initial.dtype != 0, args.total.dtype != 0};
  const Tensor* tensors[] = {&in, &out, &in2, &mask, &initial, &total};
  for (int i = 0; i < 6; ++i) {
    if (present[i] && !tensors[i]->inside && planned == CUMULUS_OK) return 0;  // would read or write where nothing is
  }
  const std::vector<std::uint8_t> before = out.memory;
  const cumulus_status status = cumulus_scan(call);
  require(status == CUMULUS_OK || (cumulus_last_error()[0] != '\0' && out.memory == before));
  require(planned == CUMULUS_OK || status != CUMULUS_OK);  // what cannot be planned cannot run
  return 0;
}
