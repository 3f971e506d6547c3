#include "case.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

namespace gpu_check {

using support::Built;
using support::Case;
using support::First;
using support::Total;

std::string describe(const Job& job, const Built& built) {
  const cuda::Plan plan = make_plan(built.problem(), device(), job.tuning);
  return fmt::format("{}{}\n  {}, {}, grid {}, {} threads, capability {}, layout forced {}", support::describe(built),
                     job.host_scalar ? ", initial in host memory" : "", name(plan.layout), name(plan.copies), plan.grid, plan.threads,
                     job.tuning.capability, job.tuning.layout);
}

// ---- tensors on the device ----

namespace {

constexpr std::size_t kAlignment = 256;  // of what the driver allocates

std::array<const support::Tensor*, 6> tensors(const Built& b) { return {&b.in, &b.in2, &b.out, &b.mask, &b.initial, &b.total}; }

}  // namespace

Image::Image(const Built& built) {
  for (const support::Tensor* t : tensors(built)) {
    places_.push_back(bytes_);
    bytes_ += (static_cast<std::size_t>(t->memory.size()) + kAlignment - 1) / kAlignment * kAlignment;
  }
}

void Image::write(const Built& from, char* to) const {
  for (std::size_t i = 0; i < places_.size(); ++i)
    if (const support::Buffer& memory = tensors(from)[i]->memory; memory.size() > 0)
      std::memcpy(to + places_[i], memory.data(), static_cast<std::size_t>(memory.size()));
}

void Image::read(const char* from, const Built& to) const {
  for (std::size_t i = 0; i < places_.size(); ++i)
    if (const support::Buffer& memory = tensors(to)[i]->memory; memory.size() > 0)
      std::memcpy(memory.data(), from + places_[i], static_cast<std::size_t>(memory.size()));
}

bool Image::same(const char* bytes, const Built& expected) const {
  for (std::size_t i = 0; i < places_.size(); ++i)
    if (const support::Buffer& memory = tensors(expected)[i]->memory;
        memory.size() > 0 && std::memcmp(bytes + places_[i], memory.data(), static_cast<std::size_t>(memory.size())) != 0)
      return false;
  return true;
}

Problem Image::at(CUdeviceptr memory, const Built& built, bool host_scalar) const {
  Problem problem = built.problem();
  const auto move = [&](auto& pointer) {
    const auto* host = static_cast<const char*>(pointer);
    for (std::size_t i = 0; host && i < places_.size(); ++i) {
      const support::Buffer& own = tensors(built)[i]->memory;
      if (!own.data() || host < own.data() || host > own.data() + own.size()) continue;
      pointer =
          reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory + places_[i] + static_cast<std::size_t>(host - own.data()));
      return;
    }
  };
  move(problem.in), move(problem.in2), move(problem.mask), move(problem.out), move(problem.total);
  if (!host_scalar) move(problem.initial);
  return problem;
}

Built expected_of(const Built& given) {
  Built expected = given;
  expected.run_product(1);
  return expected;
}

// ---- one call ----

void Worker::reserve(std::size_t bytes) {
  if (device_ && device_->bytes >= bytes) return;
  bytes = std::max(2 * bytes, std::size_t{4} << 20);
  device_.reset(), host_.reset();
  device_ = std::make_unique<DeviceMemory>(bytes);
  host_ = std::make_unique<HostMemory>(bytes);
}

std::string Worker::check(const Job& job, const Built& given) {
  try {
    const Image image(given);
    reserve(image.bytes());
    image.write(given, host_->data());
    if (image.bytes() > 0) CHECK(cuMemcpyHtoDAsync(device_->at, host_->data(), image.bytes(), stream_));
    Problem problem = image.at(device_->at, given, job.host_scalar);
    problem.stream = stream_;
    Call call;
    call.tuning = job.tuning;
    call.initial_on_host = job.host_scalar;
    cuda::run(problem, call);
    if (image.bytes() > 0) CHECK(cuMemcpyDtoHAsync(host_->data(), device_->at, image.bytes(), stream_));
    const Built expected = expected_of(given);  // while the GPU works
    CHECK(cuStreamSynchronize(stream_));
    if (image.same(host_->data(), expected)) return "";
    const Built got = given;
    image.read(host_->data(), got);
    const auto equal = expected.equals(got);
    return equal ? "" : equal.message();
  } catch (const Failure& failure) {
    return failure.message;
  } catch (const Error& error) {
    return std::string("on the CPU: ") + error.what();
  }
}

// ---- random calls ----

namespace {

void make_plain(Case& c, Random& random, bool offsets) {
  for (support::Layout* l : {&c.in_layout, &c.in2_layout, &c.out_layout, &c.mask_layout, &c.row_layout})
    *l = {{}, {}, {}, offsets ? random.below(9) : 0};
  c.mask_shape = {};
}

// Sizes and places as most callers have them: what the fastest kernels want.
void make_tidy(Case& c, Random& random) {
  c.axis = random.chance(50) ? 1 : 0;
  if (c.axis == 0) c.shape = {random.chance(60) ? random.between(1, 400) : random.between(2048, 9000), 16 * random.between(1, 24)};
  else if (random.chance(40)) c.shape = {random.between(1, 3000), random.between(1, 128)};
  else c.shape = {random.between(1, 60), 4 * random.between(1, 3000)};
  make_plain(c, random, random.chance(20));
}

void make_long(Case& c, Random& random) {
  c.shape = {random.between(1, 4), random.pick(std::vector<std::int64_t>{5000, 8200, 20000, 32768, 32769, 40000, 131072, 140000, 300001})};
  c.axis = random.chance(80) ? 1 : 0;
  if (c.axis == 0) std::swap(c.shape[0], c.shape[1]);
  make_plain(c, random, true);
}

std::int64_t multiple_below(std::int64_t size, std::int64_t of) { return std::max(of, size / of * of); }

std::int64_t other_size(std::int64_t size, bool axis, Random& random) {
  if (random.chance(1)) return 0;
  if (random.chance(30)) return size;
  if (size <= 1) return random.chance(80) ? size : random.between(1, 3);
  const std::int64_t other = axis ? random.between(size - size / 4, size + size / 4) : random.between(1, 2 * size);
  for (const std::int64_t of : {16, 4})
    if (size % of == 0 && random.chance(75)) return multiple_below(other, of);
  return other;
}

}  // namespace

Job random_job(Random& random) {
  Job job;
  job.c = support::random_case(random);
  const int kind = static_cast<int>(random.below(100));
  if (kind < 20) make_long(job.c, random);
  else if (kind < 55) make_tidy(job.c, random);
  if (random.chance(30)) job.tuning.layout = static_cast<int>(random.between(1, static_cast<int>(cuda::kLastLayout)));
  if (random.chance(30)) job.tuning.capability = 80;
  if (random.chance(20)) job.tuning.blocks = static_cast<int>(random.between(1, 3));
  job.host_scalar = job.c.first == First::scalar && random.chance(50);
  return job;
}

Job variant(const Job& base, Random& random) {
  Job job = base;
  Case& c = job.c;
  c.seed = random.next() >> 1;
  c.fill = support::natural_fill(c.op, random);
  if (c.kind != Kind::inclusive) c.kind = random.pick(std::vector{Kind::exclusive, Kind::prefixes});
  c.in_place = random.chance(20) && support::may_be_in_place(c);

  const Sizes old = c.shape;
  std::int64_t room = 2, elements = 1;
  for (const std::int64_t size : old) room *= std::max<std::int64_t>(size, 1);
  room += 10000;
  for (std::size_t k = 0; k < c.shape.size(); ++k) {
    const std::int64_t other = other_size(old[k], static_cast<int>(k) == c.axis, random);
    if (elements * other <= room) c.shape[k] = other;
    elements *= std::max<std::int64_t>(c.shape[k], 1);
  }
  const std::size_t outer = c.shape.size() - c.mask_shape.size();  // that the mask lacks
  for (std::size_t k = 0; k < c.mask_shape.size(); ++k)
    if (c.mask_shape[k] != 1 || old[outer + k] == 1) c.mask_shape[k] = c.shape[outer + k];
  if (random.chance(50))
    for (support::Layout* l : {&c.in_layout, &c.in2_layout, &c.out_layout, &c.mask_layout, &c.row_layout})
      if (random.chance(50)) l->offset = random.below(17);

  c.first = random.pick(std::vector{First::none, First::scalar, First::dropped, First::kept});
  const bool tensor = c.first == First::dropped || c.first == First::kept;
  if (c.total == Total::is_initial && !tensor) c.total = Total::own;
  if (c.total == Total::own && tensor && c.first_dtype == DType::none && c.total_dtype == DType::none && random.chance(20))
    c.total = Total::is_initial;
  job.host_scalar = c.first == First::scalar && random.chance(50);
  job.tuning.blocks = random.chance(30) ? static_cast<int>(random.between(1, 3)) : 0;
  return job;
}

}  // namespace gpu_check
