package worker

// SandboxAtOnce is for tests of a whole pool.
const SandboxAtOnce = sandboxAtOnce
