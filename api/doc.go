// Package api is the HTTP side of exportd: list routes answered inline, export requests turned into jobs, and
// reading jobs.
//
// A request passes, in this order: request id and log line, limits of size, routing, signature and scope,
// validation of everything it says, gate (may the org see the workspace and channel), and only then a query
// or a job. Whatever is malformed costs nothing. routes.go is the table of what there is and who may call it;
// errors.go is the table of what errors become. No text of an error that is not in that table reaches a
// caller.
package api
