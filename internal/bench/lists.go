package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

const (
	listsPerSecond = 200
	// listsInFlight bounds what a slow API can pile up; a request that waits for its turn is timed from when
	// it should have been sent all the same.
	listsInFlight = 512
	// listMS is what a hundredth of them may take beside exports, which take all of the cores that they get:
	// a page that comes within half a second is still a page that comes.
	listMS = 500
)

// listLines is line i: list routes under a constant rate of requests, without and beside exports of all
// messages, one after the other.
func (s *suite) listLines(ctx context.Context) ([]line, error) {
	return s.withLists(ctx, s.besideExports)
}

// withLists measures on an API that serves lists.
func (s *suite) withLists(ctx context.Context, measure func(context.Context, *bed, *caller) ([]line, error)) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	caller, stop, err := s.startLists(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return measure(ctx, b, caller)
}

func (s *suite) besideExports(ctx context.Context, b *bed, caller *caller) (_ []line, err error) {
	f, err := b.startFleet(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	mix, err := listMix(ctx, caller, s.sizes.listMessages)
	if err != nil {
		return nil, err
	}
	_, _ = sendLists(ctx, caller, mix, max(1, s.sizes.listRequests/10)) // connections and caches
	alone, failed := sendLists(ctx, caller, mix, s.sizes.listRequests)
	end := f.repeat(ctx, s.sizes.listMessages)
	beside, failedBeside := sendLists(ctx, caller, mix, s.sizes.listRequests)
	exports, err := end()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if failed = append(failed, failedBeside...); len(failed) > 0 {
		s.note("lists: first of %d failures: %v", len(failed), failed[0])
	}
	rows := number(s.sizes.listMessages) + " messages, " + number(s.sizes.listUsers) + " users"
	return []line{
		{
			what: fmt.Sprintf("p99 of %d lists a second (%s) beside %d exports / alone", listsPerSecond, rows, exports),
			ours: quantiles(beside), against: quantiles(alone), format: "%.2f×",
			value: float64(quantile(beside, 0.99)) / float64(quantile(alone, 0.99)),
		},
		{
			what: "p99 beside exports", ours: fmt.Sprintf("max %.0f ms", milliseconds(beside[len(beside)-1])), against: fmt.Sprintf("max %.0f ms", milliseconds(alone[len(alone)-1])),
			value: milliseconds(quantile(beside, 0.99)), format: "%.0f ms", target: atMost(listMS),
		},
		{what: "lists that failed", ours: number(len(failedBeside)), against: number(len(failed) - len(failedBeside)), value: float64(len(failed)), format: "%.0f", target: atMost(0)},
	}, nil
}

func quantiles(t []time.Duration) string {
	return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", milliseconds(quantile(t, 0.5)), milliseconds(quantile(t, 0.99)))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// startLists loads what the list routes need beside messages and starts an API whose limits on requests are
// off.
func (s *suite) startLists(ctx context.Context, b *bed) (_ *caller, stop func() error, err error) {
	api, err := s.startListAPI(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	return api.caller, api.stop, nil
}

// listAPI is an API that serves lists, and who asks it.
type listAPI struct {
	caller  *caller
	process *process
}

func (a *listAPI) stop() error {
	a.caller.close()
	return a.process.stop()
}

// startListAPI is startLists with more settings; all have the same key.
func (s *suite) startListAPI(ctx context.Context, b *bed, env ...string) (*listAPI, error) {
	if err := b.loadUsers(ctx, s.sizes.listUsers); err != nil {
		return nil, err
	}
	if b.secret == "" {
		b.secret = rand.Text()
		if err := b.loadDirectory(ctx, b.secret); err != nil {
			return nil, err
		}
	}
	addr := make(chan string, 1)
	env = append(append([]string{"EXPORTD_ADDR=127.0.0.1:0", "EXPORTD_RATE_IP_PER_SECOND=0", "EXPORTD_RATE_KEY_PER_SECOND=0"}, b.env...), env...)
	p, err := start(context.WithoutCancel(ctx), env, func(line string) {
		var entry struct{ Addr string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Addr != "" {
			addr <- entry.Addr
		}
	}, b.binary, "api")
	if err != nil {
		return nil, err
	}
	select {
	case a := <-addr:
		return &listAPI{newCaller("http://"+a, keyID, b.secret, listsInFlight), p}, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startWithin):
		err = fmt.Errorf("exportd api is not ready:\n%s", p.said())
	}
	return nil, errors.Join(err, p.stop())
}

// loadDirectory writes the workspace, its channel and a key with a secret.
func (b *bed) loadDirectory(ctx context.Context, secret string) error {
	database := b.database()
	name := func(path string) string { return database + "/documents/" + path }
	directory := []*firestorepb.Document{
		{Name: name("Workspaces/" + workspaceID), Fields: map[string]*firestorepb.Value{
			"orgId": str(orgID), "name": str("Bench"), "isVip": {ValueType: &firestorepb.Value_BooleanValue{BooleanValue: true}}, "channelIds": list(mediumID),
		}},
		{Name: name("Channels/" + mediumID), Fields: map[string]*firestorepb.Value{
			"orgId": str(orgID), "name": str("Bench"), "platform": str("messenger"), "workspaceIds": list(workspaceID),
		}},
		{Name: name(apikey.Collection + "/" + keyID), Fields: map[string]*firestorepb.Value{
			"orgId": str(orgID), "name": str("Bench"), "secret": str(secret), "scopes": list("read"), "state": str("active"), "createdAt": at(epoch()),
		}},
	}
	return commit(ctx, b.cfg.FirestoreHost, database, len(directory), len(directory), func(i int) *firestorepb.Document { return directory[i] })
}

// loadUsers writes the users that are missing.
func (b *bed) loadUsers(ctx context.Context, users int) error {
	database := b.database()
	q := dataset.VIPUsers.Query(orgID, jobs.Params{dataset.Workspace: workspaceID, dataset.Medium: mediumID})
	have, _, err := b.reader.Count(ctx, q, vip.Range{}, time.Time{})
	if err != nil || int(have) == users {
		return err
	}
	return commit(ctx, b.cfg.FirestoreHost, database, users, commitWrites, func(i int) *firestorepb.Document { return userDocument(database, i) })
}

// request is a list route with its query.
type request struct {
	path  string
	query url.Values
}

// mixPages is how far the mix pages into each list.
const mixPages = 40

// listMix is what callers ask for: of ten requests five are for messages, by window, label and kind, first
// pages and later ones; four for users, also by birthday and further down; one for workspaces or channels.
func listMix(ctx context.Context, c *caller, messages int) ([]request, error) {
	window := window(messages)
	place := func(more ...string) url.Values {
		q := url.Values{"workspaceId": {workspaceID}, "mediumId": {mediumID}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return q
	}
	in := func(more ...string) url.Values {
		return place(append([]string{"from", window.Time(jobs.ParamFrom).Format(time.RFC3339Nano), "to", window.Time(jobs.ParamTo).Format(time.RFC3339Nano)}, more...)...)
	}
	var pages [4][]request
	for i, q := range []url.Values{in(), in("label", "complaint"), in("contentType", "text", "limit", "200"), in("limit", "20")} {
		var err error
		if pages[i], err = walk(ctx, c, request{"/vip-messages", q}); err != nil {
			return nil, err
		}
	}
	var mix []request
	for i := range mixPages {
		month := strconv.Itoa(1 + i%12)
		directory := request{"/workspaces", nil}
		if i%2 == 1 {
			directory = request{"/channels", url.Values{"workspaceId": {workspaceID}}}
		}
		mix = append(mix,
			pages[0][0], pages[0][i%len(pages[0])], pages[1][i%len(pages[1])], pages[2][i%len(pages[2])], pages[3][i%len(pages[3])],
			request{"/vip-users", place()}, request{"/vip-users", place("offset", strconv.Itoa(50*i))},
			request{"/vip-users", place("birthdayMonth", month)}, request{"/vip-users", place("hasBirthday", "true", "limit", "200")},
			directory,
		)
	}
	return mix, nil
}

// walk returns the requests for the first pages of a list of messages.
func walk(ctx context.Context, c *caller, first request) ([]request, error) {
	pages := []request{first}
	for len(pages) < mixPages {
		next := pages[len(pages)-1]
		body, err := c.get(ctx, next.path, next.query)
		if err != nil {
			return nil, err
		}
		var page struct{ NextCursor *string }
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("decode page: %w", err)
		}
		if page.NextCursor == nil {
			break
		}
		query := url.Values{"before": {*page.NextCursor}}
		for name, v := range first.query {
			query[name] = v
		}
		pages = append(pages, request{first.path, query})
	}
	return pages, nil
}

// sendLists sends n requests at a constant rate, whether answers come or not, and returns how long each took
// from when it was due, shortest first.
func sendLists(ctx context.Context, c *caller, mix []request, n int) (times []time.Duration, failed []error) {
	times = make([]time.Duration, n)
	slots := make(chan struct{}, listsInFlight)
	var mu sync.Mutex
	var sent sync.WaitGroup
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / listsPerSecond)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
		slots <- struct{}{}
		sent.Go(func() {
			defer func() { <-slots }()
			r := mix[i%len(mix)]
			_, err := c.get(ctx, r.path, r.query)
			times[i] = time.Since(due)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	sent.Wait()
	slices.Sort(times)
	return times, failed
}
