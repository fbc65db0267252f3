package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/webhook"
)

func (a *app) callbacksCommand() *cobra.Command {
	return parent("callbacks", "Try callbacks while you write your own receiver", a.callbacksListen(), a.callbacksTest())
}

func (a *app) callbacksListen() *cobra.Command {
	var addr, secret string
	cmd := &cobra.Command{
		Use: "listen", Short: "Receive callbacks, verify their signatures and print them", Args: noArgs,
		Long: `Receives callbacks until it is interrupted, answers 204 to those that are signed
right and 401 to the others, and prints all of them; with --json one line each.

A service reaches it only if its rules for callback URLs allow this address, as those of
"exportd-dev" do. The secret is the profile's unless one is given; EXPORTCTL_WEBHOOK_SECRET
gives one without showing it in the list of processes.`,
		Example: "  exportctl callbacks listen &\n  exportctl export vip-users --callback-url http://127.0.0.1:9000/ --detach",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.webhookSecret(secret)
			if err != nil {
				return err
			}
			return a.listen(cmd.Context(), addr, s)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:9000", "HOST:PORT to listen on")
	cmd.Flags().StringVar(&secret, "secret", "", "the key's webhook secret, whsec_...")
	return cmd
}

// webhookSecret takes the secret from the flag, the environment or the profile.
func (a *app) webhookSecret(flag string) (webhook.Secret, error) {
	if flag == "" {
		flag = a.getenv("EXPORTCTL_WEBHOOK_SECRET")
	}
	if flag == "" {
		p, err := a.profile()
		if err != nil {
			return webhook.Secret{}, err
		}
		if p.WebhookSecret == "" {
			return webhook.Secret{}, &usageError{text: p.origin + " has no webhook secret", hint: "Give the one of the key: --secret whsec_..."}
		}
		flag = p.WebhookSecret
	}
	s, err := webhook.ParseSecret(flag)
	if err != nil {
		return s, &usageError{text: "the webhook secret cannot be one: " + err.Error()}
	}
	return s, nil
}

func (a *app) listen(ctx context.Context, addr string, secret webhook.Secret) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return &usageError{text: fmt.Sprintf("cannot listen on --addr %s: %v", addr, err)}
	}
	var mu sync.Mutex // callbacks come side by side, lines should not
	server := &http.Server{
		Handler: &webhook.Receiver{Secrets: []webhook.Secret{secret}, Now: a.now, Report: func(got webhook.Received) {
			mu.Lock()
			defer mu.Unlock()
			a.showCallback(got)
		}},
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
	a.say("Listening on http://%s/ for callbacks. Ctrl-C ends it.", l.Addr())
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // its error would be the listener's
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen for callbacks: %w", err)
	}
	return nil // ended by Ctrl-C, which is how it is ended
}

func (a *app) callbacksTest() *cobra.Command {
	return &cobra.Command{
		Use: "test JOB", Short: "Have a test callback sent to the callback URL of a job", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		Long: `Has the service send one signed export.ping, with a made-up job, by the same rules and
with the same secret as the real callbacks, and shows what the receiver answered. At most
5 a minute for each org. Ends with 1 if it was not delivered.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.TestCallbackWithResponse(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				err = a.printJSON(r.Body)
			} else {
				a.list(pingFacts(r.JSON200))
			}
			if err == nil && !r.JSON200.Delivered {
				return &reportedError{exitFailed}
			}
			return err
		},
	}
}

// pingFacts are what there is to say about a test callback.
func pingFacts(p *client.Ping) [][2]cell {
	outcome := cell{"delivered", green}
	if !p.Delivered {
		outcome = cell{"not delivered: " + p.Class, red}
	}
	status := ""
	if p.Status != nil {
		status = fmt.Sprint(*p.Status)
	}
	return [][2]cell{
		{words("url"), words(p.URL)}, {words("outcome"), outcome}, {words("status"), words(status)},
		{words("took"), words(duration(time.Duration(p.DurationMs) * time.Millisecond))}, {words("answer"), words(p.Response)},
	}
}

// showCallback prints a callback that came.
func (a *app) showCallback(got webhook.Received) {
	if a.asJSON {
		line := map[string]any{"at": got.At.UTC(), "id": got.ID, "accepted": got.Refused == "", "refused": got.Refused}
		if json.Valid(got.Body) {
			line["body"] = json.RawMessage(got.Body)
		}
		raw, err := json.Marshal(line)
		if err == nil {
			fmt.Fprintln(a.stdout, string(escapeJSON(raw)))
		}
		return
	}
	p := a.painter(a.stdoutTerminal)
	at := got.At.UTC().Format(time.TimeOnly)
	if got.Refused != "" {
		fmt.Fprintf(a.stdout, "%s  %s   %s\n", at, p.paint(red, "refused"), clean(got.Refused, false))
		return
	}
	e := got.Event
	text := fmt.Sprintf("%s  job %s", e.Type, e.Data.JobID)
	switch {
	case e.Data.Error != nil:
		text += fmt.Sprintf("  %s: %s", e.Data.Error.Code, e.Data.Error.Message)
	case e.Data.TotalCount != nil:
		text += "  " + plural(*e.Data.TotalCount, "row", "rows")
	}
	fmt.Fprintf(a.stdout, "%s  %s  %s  %s\n", at, p.paint(green, "verified"), clean(text, false), p.paint(dim, clean(got.ID, false)))
	if e.Data.CSVURL != nil {
		fmt.Fprintf(a.stdout, "          %s\n", p.paint(dim, clean(*e.Data.CSVURL, false)))
	}
}
