// Package front is what Google's front end does to every gRPC connection, whatever the service behind it.
package front

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// MaxStreams is how many calls may be under way on one connection; the next wait in the client until one
	// ends. A listener and a query each hold one. googleapis/google-cloud-java#3514;
	// https://grpc.io/docs/guides/performance
	MaxStreams = 100
	// DefaultAge is after how long a connection gets GOAWAY: new calls go to a new one, those under way go
	// on. permutive-engineering/fs2-pubsub#544 has Pub/Sub's, with "max_age", at one hour.
	DefaultAge = time.Hour
	// ageGrace is how long calls under way may go on after that. There is no documented number.
	ageGrace = 5 * time.Minute
	// minPing is how often a client may ping, with and without calls under way; one that does so more than
	// three times too early gets GOAWAY with ENHANCE_YOUR_CALM, "too_many_pings". Google's clients are not
	// allowed less than 10 s (grpc-go raises shorter keepalive times to it).
	minPing = 10 * time.Second
)

// Options are those of a server. age 0 is DefaultAge. lax leaves out the bounds on streams and age.
func Options(age time.Duration, lax bool) []grpc.ServerOption {
	out := []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	}
	if age == 0 && !lax {
		age = DefaultAge
	}
	if age > 0 {
		out = append(out, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: ageGrace}))
	}
	if !lax {
		out = append(out, grpc.MaxConcurrentStreams(MaxStreams))
	}
	return out
}
