package console

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"exportd/api/client"
)

// historySince is what is shown of how receivers have answered: a callback is tried for three days.
const historySince = "7d"

// history is how a receiver has answered, with a picture of it.
type history struct {
	client.ReceiverHistory
	Bars []bar
	Says string // the picture in words
}

// sparkWidth and sparkHeight are the picture's.
const sparkWidth, sparkHeight = 100.0, 16.0

// histories adds how receivers have answered to a page: of the org and the receiver that its filters name.
// Filters that are not understood are told of by the list.
func (c *Console) histories(ctx context.Context, p *callbacksPage, q url.Values) error {
	since := historySince
	params := &client.OpsReceiverHistoryParams{Since: &since}
	if org := q.Get("orgId"); org != "" {
		params.OrgID = &org
	}
	origin := q.Get("origin")
	if origin != "" {
		params.Origin = &origin
	}
	answer, err := c.api.OpsReceiverHistoryWithResponse(ctx, params)
	if refused, ok := refusal(err); ok && len(refused.Faults) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	p.Over, p.Partial = "the last 7 days", !answer.JSON200.Complete
	for _, r := range answer.JSON200.Receivers {
		p.Histories = append(p.Histories, historyOf(r))
	}
	if origin != "" && len(p.Histories) == 1 {
		p.Chart = []chart{attemptsChart(&p.Histories[0].ReceiverHistory, time.Duration(answer.JSON200.BucketSeconds)*time.Second)}
	}
	return nil
}

func historyOf(r client.ReceiverHistory) history {
	h := history{ReceiverHistory: r}
	most, failed, succeeded := 1, 0, 0
	for _, b := range r.Buckets {
		most, failed, succeeded = max(most, b.Failed+b.Succeeded), failed+b.Failed, succeeded+b.Succeeded
	}
	wide := sparkWidth / float64(max(1, len(r.Buckets)))
	for i, b := range r.Buckets {
		below := sparkHeight
		for _, part := range []struct {
			n           int
			name, class string
		}{{b.Failed, "failed", "bad"}, {b.Succeeded, "succeeded", "good"}} {
			if part.n == 0 {
				continue
			}
			tall := max(1.5, float64(part.n)/float64(most)*(sparkHeight-1.5))
			below -= tall
			h.Bars = append(h.Bars, bar{
				X: px(wide * float64(i)), Y: px(max(0, below)), W: px(wide * 0.8), H: px(tall), Class: part.class,
				Title: fmt.Sprintf("%s: %d %s", b.At.UTC().Format("02 Jan 15:04"), part.n, part.name),
			})
		}
	}
	h.Says = fmt.Sprintf("%d failed attempts, %d that succeeded", failed, succeeded)
	return h
}

// attemptsChart draws the attempts at a receiver over time.
func attemptsChart(r *client.ReceiverHistory, step time.Duration) chart {
	times, total := make([]time.Time, len(r.Buckets)), 0
	for i, b := range r.Buckets {
		times[i], total = b.At, total+b.Failed+b.Succeeded
	}
	return drawn(chart{ID: "attempts", Title: "Attempts at it", Sum: num(total), Series: []series{
		{"failed", "bad", func(i int) float64 { return float64(r.Buckets[i].Failed) }},
		{"succeeded", "good", func(i int) float64 { return float64(r.Buckets[i].Succeeded) }},
	}}, times, step, short)
}
