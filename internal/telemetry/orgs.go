package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// TopOrgs is how many orgs are told of by name, by rows and by time each; the rest are one.
	TopOrgs = 10
	// orgStep and orgSteps: what is told is of the last hour, forgotten five minutes at a time.
	orgStep  = 5 * time.Minute
	orgSteps = 12
	// maxOrgs bounds the orgs that are told apart in a step, at about 100 bytes each; of more, those that
	// came last are "other".
	maxOrgs = 2000
	// maxOrgName bounds an org's id in a label: documents may hold any.
	maxOrgName = 64
)

// Orgs tells which orgs this process has worked for most within an hour: the TopOrgs by rows and by time in
// slots, so that the number of series is bounded whatever the number of orgs. It is a prometheus.Collector; a
// nil *Orgs remembers nothing. Safe for concurrent use.
type Orgs struct {
	now  func() time.Time
	rows *prometheus.Desc
	busy *prometheus.Desc

	mu    sync.Mutex
	steps [orgSteps]orgUse
}

// orgUse is what was done within a step, which began at.
type orgUse struct {
	at time.Time
	of map[string]use
}

type use struct {
	rows int64
	busy time.Duration
}

// NewOrgs makes an Orgs; now is the clock.
func NewOrgs(now func() time.Time) *Orgs {
	return &Orgs{
		now:  now,
		rows: prometheus.NewDesc("exportd_org_rows", "Rows that this process finished for an org within the last hour, of the orgs with the most.", []string{"org"}, nil),
		busy: prometheus.NewDesc("exportd_org_busy_seconds", "Time that jobs and parts of an org had a slot of this process within the last hour, of the orgs with the most.", []string{"org"}, nil),
	}
}

// Wrote notes rows of an org that were finished.
func (o *Orgs) Wrote(org string, rows int64) { o.add(org, use{rows: max(rows, 0)}) }

// Worked notes that an org had a slot.
func (o *Orgs) Worked(org string, took time.Duration) { o.add(org, use{busy: max(took, 0)}) }

func (o *Orgs) add(org string, u use) {
	if o == nil {
		return
	}
	org = strings.ToValidUTF8(org[:min(len(org), maxOrgName)], "?")
	at := o.now().Truncate(orgStep)
	o.mu.Lock()
	defer o.mu.Unlock()
	step := &o.steps[at.Unix()/int64(orgStep/time.Second)%orgSteps]
	if !step.at.Equal(at) {
		*step = orgUse{at, map[string]use{}}
	}
	if _, ok := step.of[org]; !ok && len(step.of) >= maxOrgs {
		org = other
	}
	sum := step.of[org]
	step.of[org] = use{sum.rows + u.rows, sum.busy + u.busy}
}

// Describe is of prometheus.Collector.
func (o *Orgs) Describe(ch chan<- *prometheus.Desc) { ch <- o.rows; ch <- o.busy }

// Collect is of prometheus.Collector.
func (o *Orgs) Collect(ch chan<- prometheus.Metric) {
	sum := o.sum()
	top(ch, o.rows, maps.Clone(sum), func(u use) float64 { return float64(u.rows) })
	top(ch, o.busy, sum, func(u use) float64 { return u.busy.Seconds() })
}

func (o *Orgs) sum() map[string]use {
	oldest := o.now().Truncate(orgStep).Add(-(orgSteps - 1) * orgStep)
	sum := map[string]use{}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, step := range o.steps {
		if step.at.Before(oldest) {
			continue
		}
		for org, u := range step.of {
			s := sum[org]
			sum[org] = use{s.rows + u.rows, s.busy + u.busy}
		}
	}
	return sum
}

// top sends the TopOrgs orgs with the most, and the rest as one.
func top(ch chan<- prometheus.Metric, desc *prometheus.Desc, sum map[string]use, by func(use) float64) {
	rest := by(sum[other])
	delete(sum, other)
	names := slices.SortedFunc(maps.Keys(sum), func(a, b string) int {
		return cmp.Or(-cmp.Compare(by(sum[a]), by(sum[b])), cmp.Compare(a, b))
	})
	for i, name := range names {
		v := by(sum[name])
		if i >= TopOrgs {
			rest += v
			continue
		}
		if v > 0 {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, name)
		}
	}
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, rest, other)
}
