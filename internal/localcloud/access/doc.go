// Package access is the permissions mode of the embedded cloud: accounts that may do only what a file grants
// them, as IAM does it in production.
//
// Each account has addresses of its own for the three services; who calls at one is that account, so nothing
// in a client changes but the variables that name the addresses. Each call is mapped to the permissions that
// Google documents for it, and refused in Google's form without them; a call that is not in the table is
// refused as well. What was granted, used and refused is counted, so that a test can hold the file against
// what the processes really do.
//
// Permissions are on the project as a whole: conditions, and grants on single topics or buckets, are not
// here.
package access
