"""linux.seccomp → a BPF program: rules (pure), the compiler (libseccomp) and the cache of what it made."""
