// Package service puts a process of exportd together from its settings: the connections that an API and a
// worker share, either of them on these, and their port for operators. The programs in cmd choose what runs
// in one process and where its services are; what runs is the same.
//
// A build with the tag crashpoints dies where EXPORTD_TEST_CRASH_AT says (crash_on.go), in the very code that
// is shipped. No other build has such places.
package service
