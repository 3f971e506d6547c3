/* Uses the installed C interface, in plain C99. */
#include <cumulus/cumulus.h>
#include <stdio.h>

int main(void) {
  const float x[4] = {1, 2, 3, 4};
  float y[4] = {0, 0, 0, 0};
  const int64_t shape[1] = {4};
  cumulus_scan_args args = {0};
  args.struct_size = sizeof args;
  args.op = CUMULUS_OP_sum;
  args.kind = CUMULUS_EXCLUSIVE;
  args.in.data = (void*)x;
  args.in.shape = shape;
  args.in.rank = 1;
  args.in.dtype = CUMULUS_DTYPE_f32;
  args.out = args.in;
  args.out.data = y;
  if (cumulus_scan(&args) != CUMULUS_OK) {
    fprintf(stderr, "%s\n", cumulus_last_error());
    return 1;
  }
  printf("C consumer: order %d, %s: %g %g %g %g\n", cumulus_order_version(), cumulus_simd_target(), y[0], y[1], y[2], y[3]);
  return y[0] == 0 && y[1] == 1 && y[2] == 3 && y[3] == 6 ? 0 : 1;
}
