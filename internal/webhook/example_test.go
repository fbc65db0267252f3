package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"exportd/internal/webhook"
)

func ExampleParseURL() {
	allowed, err := webhook.ParseHostList([]string{"*.customer.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, raw := range []string{
		"HTTPS://Hooks.Customer.com:443/cb?job=1",
		"https://hooks.customer.com@127.0.0.1/",
		"https://customer.com.evil.net/",
	} {
		target, err := webhook.ParseURL(raw, webhook.Rules{AllowedHosts: allowed})
		fmt.Println(target, err)
	}
	// Output:
	// https://hooks.customer.com/cb?job=1 <nil>
	//  callback URL must not hold a user name or password
	//  callback URL must name a host that is allowed for this key
}

// One attempt and what follows from it. The destination is an address, so
// nothing is sent.
func Example() {
	sender := webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{})})
	policy := webhook.Policy{Rand: rand.Float64}

	attempt := sender.Send(context.Background(), webhook.Delivery{
		URL:       "https://10.0.0.1/cb",
		ID:        "msg_job1_succeeded",
		Timestamp: time.Now(),
		Body:      []byte(`{"type":"export.succeeded"}`),
		Secrets:   []webhook.Secret{webhook.NewSecret()},
	})
	decision := policy.Decide(1, attempt, time.Now())
	fmt.Println(attempt.Class, decision.Verdict, decision.Verdict.Final())
	// Output: blocked_destination blocked true
}
