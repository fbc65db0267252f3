// Package inmemory has a store, a queue and a bucket in this process's memory, by the interfaces of package
// jobs and with the promises of package jobstest. Tests run workers and servers on them without a cloud;
// nothing is kept when the process ends.
package inmemory
