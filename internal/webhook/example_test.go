package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

// One attempt and what follows from it. The destination is an address, so nothing is sent.
func Example() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	sender := webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{})})
	policy := webhook.Policy{Rand: rand.Float64}

	attempt := sender.Send(context.Background(), webhook.Delivery{
		URL:       "https://10.0.0.1/cb",
		ID:        "msg_job1_succeeded",
		Timestamp: time.Now(),
		Body:      []byte(`{"type":"export.succeeded"}`),
		Secrets:   []webhook.Secret{secret},
	})
	decision := policy.Decide(1, attempt, time.Now())
	fmt.Println(attempt.Class, decision.Verdict, decision.Verdict.Final())
	// Output: blocked_destination blocked true
}

// A receiver verifies what was sent to it, by the key's webhook secret or by the one that it replaces; what
// anybody else signed gets 401.
func ExampleReceiver() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(&webhook.Receiver{
		Secrets: []webhook.Secret{secret},
		Report: func(got webhook.Received) {
			if got.Refused != "" {
				fmt.Println("refused:", got.Refused)
				return
			}
			fmt.Println(got.ID, got.Event.Type, got.Event.Data.JobID)
		},
	})
	defer server.Close()
	dev := webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}
	sender := webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{Dev: dev}), Rules: webhook.Rules{Dev: dev}})
	stranger, err := webhook.DeriveSecret("not the key's")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, by := range []webhook.Secret{secret, stranger} {
		attempt := sender.Send(context.Background(), webhook.Delivery{
			URL: server.URL, ID: "msg_job1_succeeded", Timestamp: time.Now(),
			Body:    []byte(`{"type":"export.succeeded","data":{"jobId":"job1"}}`),
			Secrets: []webhook.Secret{by},
		})
		fmt.Println(attempt.Status == http.StatusNoContent, attempt.Delivered())
	}
	// Output:
	// msg_job1_succeeded export.succeeded job1
	// true true
	// refused: no signature matches the secret
	// false false
}
