// LeakSanitizer looks at a process from outside when it ends, and now and then crashes on the threads that NVRTC has left behind. What
// these tests of the host's side would leak, the CPU's and the command line's tests would too.
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off() { return 1; }
