// Package connection keeps the connections to Google's services alive, or gets others.
//
// A connection can be up and yet bring nothing: a proxy or a load balancer acknowledges what is sent, and no
// answer comes. TCP never ends such a connection, and calls that give up leave it in place for the next ones.
// A [Guard] ends it: by HTTP/2 pings while calls are under way, and after a few calls in a row that got no
// answer in their time; gRPC then dials anew. It also knows for how long nothing has got through, which is
// what liveness probes want to know.
//
// A [Pool] spreads calls over connections, the one with the fewest calls first: Google takes 100 calls at a
// time on a connection (googleapis/google-cloud-java#3514), listeners and scans among them; what is beyond
// waits in the client without a sign.
package connection
