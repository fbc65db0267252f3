package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"exportd/api/client"
	"exportd/internal/backoff"
)

// deliveryCase is an export of a sandbox whose callback the service itself sends to a receiver.
type deliveryCase struct {
	name, remedy string
	scenario     client.TestScenario
	times        int // it comes, each to be answered 2xx
}

var deliveryCases = []deliveryCase{
	{"a success, sent by the service", "answer 2xx within 15 s to what is signed by the key's webhook secret", client.TestScenarioSucceed, 1},
	{"a failure to try again, sent by the service", "answer 2xx to export.failed too", client.TestScenarioFailRetryable, 1},
	{"a final failure, sent by the service", "answer 2xx to export.failed too", client.TestScenarioFailFinal, 1},
	{"one that comes again, sent by the service", "answer 2xx to a webhook-id that you have seen, and do nothing", client.TestScenarioDuplicateCallback, 2},
	{"one that comes late, sent by the service", "take a callback whenever it comes: its webhook-timestamp is of when it was sent", client.TestScenarioLateCallback, 1},
}

const (
	// deliveredWithin is longer than the service holds back the callback that comes late, with an attempt.
	deliveredWithin = 90 * time.Second
	deliveryEvery   = time.Second
)

// deliveryTrial has a service send callbacks to a receiver.
type deliveryTrial struct {
	client            *client.Client
	url               string
	workspace, medium string
}

// throughService has the service of the profile send callbacks to a receiver.
func (a *app) throughService(ctx context.Context, url string, only []string) error {
	cases, err := onlyNamed(deliveryCases, func(c deliveryCase) string { return c.name }, only)
	if err != nil {
		return err
	}
	p, c, err := a.dial(false, fewAttempts)
	if err != nil {
		return err
	}
	workspace, medium := p.place()
	trial := &deliveryTrial{client: c, url: url, workspace: workspace, medium: medium}
	verdicts, err := runCases(ctx, cases, trial.run)
	if err != nil {
		return err
	}
	return a.showVerdicts(verdicts)
}

func (d *deliveryTrial) run(ctx context.Context, c deliveryCase) verdict {
	v := verdict{Case: c.name, Remedy: c.remedy}
	within, cancel := context.WithTimeout(ctx, deliveredWithin)
	defer cancel()
	job, err := d.client.Submit(within, client.Request{
		Kind: client.KindVipUsers, WorkspaceID: d.workspace, MediumID: d.medium, CallbackURL: d.url, Fresh: true, TestScenario: c.scenario,
	})
	waitsFor := ""
	for err == nil && !c.decided(job.Callback) {
		waitsFor = job.JobID
		if err = backoff.Sleep(within, deliveryEvery); err == nil {
			job, err = d.client.GetJob(within, waitsFor)
		}
	}
	switch refused, ok := errors.AsType[*client.Error](err); {
	case ok && waitsFor == "":
		v.Got, v.Remedy = "the service refuses the export: "+refused.Message, ""
		for _, f := range refused.Faults {
			v.Got += "; " + f.Message
		}
	case err != nil && waitsFor != "" && within.Err() != nil:
		v.Got = fmt.Sprintf("job %s: its callback was not delivered within %s", waitsFor, deliveredWithin)
	case err != nil:
		_, v.Got, v.Remedy = explain(err)
	default:
		v.OK, v.Got = c.judge(job.Callback)
		if v.OK {
			v.Remedy = ""
		}
	}
	return v
}

// decided reports whether it is known what the receiver has made of a callback. Of an attempt without an
// answer nobody can tell whether it is under way: that is known with the next one.
func (c deliveryCase) decided(cb *client.CallbackStatus) bool {
	if cb == nil || cb.State != nil && *cb.State != client.CallbackStatePending {
		return true
	}
	return cb.LastStatus != nil && *cb.LastStatus/100 != 2 || cb.Attempts > c.times
}

func (c deliveryCase) judge(cb *client.CallbackStatus) (ok bool, got string) {
	if cb == nil || cb.State == nil {
		return false, "its job has no callback"
	}
	got = fmt.Sprintf("%s at attempt %d", *cb.State, cb.Attempts)
	if cb.LastStatus != nil {
		got += fmt.Sprintf(", with %d", *cb.LastStatus)
	} else if *cb.State != client.CallbackStateDelivered {
		got += ", without an answer"
	}
	return *cb.State == client.CallbackStateDelivered && cb.Attempts == c.times && cb.LastStatus != nil && *cb.LastStatus/100 == 2, got
}
