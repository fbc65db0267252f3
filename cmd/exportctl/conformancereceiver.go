package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"exportd/internal/webhook"
	"exportd/jobs"
)

const (
	// receiverWithin is what the service allows a receiver.
	receiverWithin = 15 * time.Second
	// receiverCrowd is how many callbacks come at once.
	receiverCrowd = 16
	// hugeBody is above what any receiver needs to read: a callback has some hundred bytes.
	hugeBody = 4 << 20
)

// sent is a callback as a case sends it.
type sent struct {
	id      string
	at      time.Time
	body    []byte
	secrets []webhook.Secret
	// change is made after signing.
	change func(h http.Header, body []byte) []byte
}

// receiverCase is a callback and what must be answered.
type receiverCase struct {
	name, remedy string
	refused      bool // it must be answered 4xx, else 2xx
	send         func(s *sent)
	times        int // it is sent, one after the other; 0 is once
	atOnce       int // other ones beside it
	anyAnswer    bool
}

func (a *app) conformanceReceiver() *cobra.Command {
	var secret string
	var through bool
	var only []string
	cmd := &cobra.Command{
		Use: "receiver URL", Short: "Send a receiver of callbacks good and bad ones", Args: oneArg("url"),
		Long: `Sends callbacks to a receiver, from here and not by the service, and looks at what it
answers: 2xx to those that are signed right, 4xx to all others. Their job is one that there
is not. The secret is the profile's unless one is given; EXPORTCTL_WEBHOOK_SECRET gives one
without showing it in the list of processes.

With --through-service the service itself sends them, of exports in the sandbox: of a success,
of failures, one that comes again and one that comes late (40 s in all). So the way from the
service to the receiver is tried too, and the secret that it signs with. The key of the
profile must be one of a sandbox, and the service must be allowed to call the URL.`,
		Example: `  exportctl conformance receiver http://127.0.0.1:9000/hook --secret whsec_...
  exportctl --profile sandbox conformance receiver https://hooks.example.com/exports --through-service`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if through {
				return a.throughService(cmd.Context(), args[0], only)
			}
			cases, err := onlyNamed(receiverCases(), func(c receiverCase) string { return c.name }, only)
			if err != nil {
				return err
			}
			s, err := a.webhookSecret(secret)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(args[0], "https://") && !strings.HasPrefix(args[0], "http://") {
				return &usageError{text: "URL must begin with https:// or http://"}
			}
			r := &receiverTrial{url: args[0], secret: s, now: a.now, client: &http.Client{
				Transport: &http.Transport{DisableKeepAlives: true}, // as the service has it
				Timeout:   receiverWithin, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}}
			verdicts, err := runCases(cmd.Context(), cases, r.run)
			if err != nil {
				return err
			}
			return a.showVerdicts(verdicts)
		},
	}
	cmd.Flags().StringVar(&secret, "secret", "", "the key's webhook secret, whsec_...")
	cmd.Flags().BoolVar(&through, "through-service", false, "have the service send them, of exports in the sandbox")
	cmd.Flags().StringArrayVar(&only, "only", nil, "only this case; again for each")
	cmd.MarkFlagsMutuallyExclusive("secret", "through-service")
	return cmd
}

// receiverCases are all, the last one after what may have hurt.
func receiverCases() []receiverCase {
	const verify = "verify as Standard Webhooks says: HMAC-SHA256 of id.timestamp.body, byte for byte as they came, by the secret after whsec_ decoded"
	event := func(kind string, data map[string]any) func(*sent) {
		return func(s *sent) { s.body = eventBody(s.at, kind, data) }
	}
	header := func(name, value string) func(*sent) {
		return func(s *sent) {
			s.change = func(h http.Header, body []byte) []byte { h.Set(name, value); return body }
		}
	}
	return []receiverCase{
		{name: "a callback of a success", remedy: "answer 2xx within 15 s: note it, and do the work afterwards; " + verify},
		{name: "a failed export", remedy: "csvUrl and totalCount are null: do not read them before type says export.succeeded", send: event("export.failed", map[string]any{
			"state": "failed", "totalCount": nil, "csvUrl": nil, "csvUrlExpiresAt": nil, "error": map[string]any{"code": "UNAVAILABLE", "message": "a test", "retryable": true}})},
		{name: "a canceled export", remedy: "csvUrl, totalCount and error are null", send: event("export.canceled", map[string]any{"state": "canceled", "totalCount": nil, "csvUrl": nil, "csvUrlExpiresAt": nil})},
		{name: "a ping", remedy: "answer 2xx to export.ping, which callback tests send", send: event(webhook.EventPing, map[string]any{"jobId": webhook.PingJobID, "totalCount": nil, "csvUrl": nil, "csvUrlExpiresAt": nil})},
		{name: "a type of tomorrow", remedy: "answer 2xx to types that you do not know, and leave them", send: event("export.archived", nil)},
		{name: "a member of tomorrow", remedy: "leave members that you do not know", send: event("export.succeeded", map[string]any{"later": []any{1, "two"}})},
		{name: "the same three times", remedy: "answer 2xx to a webhook-id that you have seen, and do nothing: callbacks come at least once", times: 3},
		{name: "16 at once", remedy: "answer before the work is done, so that many may come together", atOnce: receiverCrowd},
		{name: "two signatures", remedy: "webhook-signature may have several, with spaces between, while secrets are rotated: one must match", send: func(s *sent) {
			s.secrets = []webhook.Secret{otherSecret(), s.secrets[0]}
		}},
		{name: "another secret", refused: true, remedy: "answer 401 where no signature matches; " + verify, send: func(s *sent) { s.secrets = []webhook.Secret{otherSecret()} }},
		{name: "no signature", refused: true, remedy: "answer 401 where webhook-signature is missing", send: func(s *sent) {
			s.change = func(h http.Header, body []byte) []byte { h.Del("Webhook-Signature"); return body }
		}},
		{name: "a signature of another version", refused: true, remedy: "take signatures that begin with v1, alone", send: func(s *sent) {
			s.change = func(h http.Header, body []byte) []byte {
				h.Set("Webhook-Signature", strings.ReplaceAll(h.Get("Webhook-Signature"), "v1,", "v0,"))
				return body
			}
		}},
		{name: "a changed body", refused: true, remedy: "verify the body as it came, before it is parsed", send: func(s *sent) {
			s.change = func(_ http.Header, body []byte) []byte { return bytes.Replace(body, []byte(`120`), []byte(`121`), 1) }
		}},
		{name: "a changed id", refused: true, remedy: "the signature covers webhook-id", send: header("Webhook-Id", "msg_other")},
		{name: "a changed time", refused: true, remedy: "the signature covers webhook-timestamp", send: func(s *sent) {
			s.change = func(h http.Header, body []byte) []byte {
				h.Set("Webhook-Timestamp", fmt.Sprint(s.at.Unix()+1))
				return body
			}
		}},
		{name: "one of 10 minutes ago", refused: true, remedy: "refuse a webhook-timestamp that is more than 5 minutes from now: whoever has seen a callback could send it again", send: func(s *sent) { s.at = s.at.Add(-10 * time.Minute) }},
		{name: "one of 10 minutes from now", refused: true, remedy: "refuse a webhook-timestamp that is more than 5 minutes from now, also one ahead", send: func(s *sent) { s.at = s.at.Add(10 * time.Minute) }},
		{name: "a body of 4 MiB", refused: true, anyAnswer: true, remedy: "bound what is read, at 1 MiB or less, and answer 413: anybody can send more", send: func(s *sent) {
			s.change = func(http.Header, []byte) []byte { return bytes.Repeat([]byte(" "), hugeBody) }
		}},
		{name: "a good one after these", remedy: "a bad request must not hurt the receiver"},
	}
}

func otherSecret() webhook.Secret {
	s, err := webhook.DeriveSecret(rand.Text())
	if err != nil {
		panic(err) // of an empty text alone
	}
	return s
}

// eventBody is a callback's body, with other members of data.
func eventBody(at time.Time, kind string, data map[string]any) []byte {
	all := map[string]any{
		"jobId": jobs.NewID(), "kind": "vip-users", "state": "succeeded", "totalCount": 120, "csvUrl": "https://storage.example.com/a-test", "csvUrlExpiresAt": at.Add(time.Hour).UTC(),
		"error": nil, "params": map[string]any{},
	}
	for name, v := range data {
		all[name] = v
	}
	body, _ := json.Marshal(map[string]any{"type": kind, "timestamp": at.UTC(), "data": all}) // texts, numbers and times
	return body
}

// receiverTrial tries one receiver.
type receiverTrial struct {
	url    string
	secret webhook.Secret
	now    func() time.Time
	client *http.Client
}

func (r *receiverTrial) run(ctx context.Context, c receiverCase) verdict {
	answers := make([]string, max(1, c.atOnce))
	good := make([]bool, len(answers))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			s := sent{id: "msg_" + jobs.NewID() + "_succeeded_1", at: r.now(), secrets: []webhook.Secret{r.secret}}
			s.body = eventBody(s.at, "export.succeeded", nil)
			if c.send != nil {
				c.send(&s)
			}
			for range max(1, c.times) {
				if answers[i], good[i] = r.post(ctx, s, c); !good[i] {
					return
				}
			}
		})
	}
	all.Wait()
	v := verdict{Case: c.name, OK: true, Got: answers[0]}
	for i := range answers {
		if !good[i] {
			v.OK, v.Got, v.Remedy = false, answers[i], c.remedy
		}
	}
	return v
}

// post sends a callback and says what was answered, and whether that is right.
func (r *receiverTrial) post(ctx context.Context, s sent, c receiverCase) (string, bool) {
	signature, err := webhook.Sign(s.id, s.at, s.body, s.secrets...)
	if err != nil {
		return err.Error(), false
	}
	h := http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {webhook.DefaultUserAgent},
		"Webhook-Id": {s.id}, "Webhook-Timestamp": {fmt.Sprint(s.at.Unix())}, "Webhook-Signature": {signature},
	}
	body := s.body
	if s.change != nil {
		body = s.change(h, body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return "the URL cannot be asked", false
	}
	req.Header = h
	begun := time.Now()
	resp, err := r.client.Do(req)
	switch {
	case err != nil && c.anyAnswer && ctx.Err() == nil && time.Since(begun) < receiverWithin:
		return "the connection was closed", true // before all was read
	case err != nil:
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "no answer within 15 s", false
		}
		return "no answer: cannot connect, or the connection broke", false
	}
	defer resp.Body.Close()
	want := 2
	if c.refused {
		want = 4
	}
	return fmt.Sprintf("%d after %s", resp.StatusCode, time.Since(begun).Round(time.Millisecond)), resp.StatusCode/100 == want
}
