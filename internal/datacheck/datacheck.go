// Package datacheck looks for documents that no route shows as their owner would expect: those without the
// field that rows are sorted by, those with another type there, and VIP users whose flags of birthdays
// contradict their birthday.
//
// Firestore has no query for a field that is missing: an index has no entry of such a document. So they are
// counted as the difference of two counts, with the sort field and without it, for a read per 1,000
// documents. Only where there are some, and where flags are to be compared, are documents gone through, for a
// read each, up to a bound. Nothing is kept but counts and some ids.
package datacheck

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/dataset"
	"exportd/internal/panics"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Source is the database.
type Source interface {
	vip.Directory
	Channels(ctx context.Context, orgID, workspaceID string, most int) ([]vip.Channel, error)
	Count(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (int64, time.Time, error)
	Walk(ctx context.Context, q vip.Query, fields []string, row func(id, doc []byte) error) error
}

// Config is what is looked at and how far.
type Config struct {
	Source   Source
	Datasets dataset.Set
	// Samples are how many ids are told of each fault.
	Samples int
	// MostReads bounds the documents that are gone through. Counts go on without.
	MostReads int64
}

// Faults of documents.
const (
	NoSortField  = "no sort field"              // in no list, total or export
	OtherType    = "sort field of another type" // in none either where rows have a window of time, else out of order
	FlagOnly     = "hasBirthday without birthday"
	BirthdayOnly = "birthday without hasBirthday" // in none with hasBirthday or birthdayMonth
	OtherMonth   = "birthdayMonth is not the birthday's"
	NoDate       = "birthday is no date"
	// SandboxOrg is of workspaces: their org's id is one of a sandbox, whose keys are given made-up rows. It
	// needs another id.
	SandboxOrg = "org id is reserved for sandboxes: its keys get made-up rows"
)

// Place is where documents lie: a dataset's of a workspace on a channel, or of an org.
type Place struct {
	Dataset   string `json:"dataset"`
	OrgID     string `json:"orgId"`
	Workspace string `json:"workspaceId,omitempty"`
	Channel   string `json:"mediumId,omitempty"`
}

// Fault is what some documents of a place have.
type Fault struct {
	What string `json:"what"`
	// Field is the one that it is about.
	Field     string   `json:"field"`
	Documents int64    `json:"documents"`
	Samples   []string `json:"samples"`
}

// Finding is a place with faults.
type Finding struct {
	Place
	Documents int64   `json:"documents"`
	Faults    []Fault `json:"faults"`
	// Complete is false where not all of its documents were gone through: there may be more of what no count
	// finds, and other samples.
	Complete bool `json:"complete"`
}

// Summary is about all of them.
type Summary struct {
	Places    int64 `json:"places"`
	Documents int64 `json:"documents"`
	// Elsewhere are documents of the datasets that lie in no place that anybody may read: their workspace is
	// none, or no VIP workspace, or their channel is not connected to it.
	Elsewhere int64 `json:"elsewhere"`
	// Faults are those of all documents: one that has two counts twice.
	Faults int64 `json:"faults"`
	// Reads are what it was billed for, about.
	Reads int64 `json:"reads"`
	// Complete is false where the bound of reads, or an error, left something out.
	Complete bool `json:"complete"`
}

// placesAtOnce bounds the places under way. Each has a count or a stream of the database at a time.
const placesAtOnce = 8

// mostChannels bounds what the channels of a workspace may come to, in bytes, as in the list route.
const mostChannels = 8 << 20

// Check looks at every place and tells those with faults as it finds them, one call at a time. It gives the
// summary of what it came to also with an error.
func Check(ctx context.Context, cfg Config, tell func(Finding) error) (Summary, error) {
	c := &check{cfg: cfg, tell: tell, left: cfg.MostReads, whole: true}
	err := c.run(ctx)
	c.sum.Complete = c.whole && err == nil
	if err != nil {
		c.sum.Elsewhere = 0 // of all places alone
	}
	return c.sum, err
}

type check struct {
	cfg Config

	mu    sync.Mutex
	tell  func(Finding) error
	sum   Summary
	left  int64 // documents that may be gone through
	whole bool
}

// workspaceFields are what the gate goes by.
var workspaceFields = []string{"orgId", "isVip", "channelIds"}

func (c *check) run(ctx context.Context) error {
	for _, d := range c.cfg.Datasets {
		if d != c.first(d.Collection) {
			continue
		}
		n, _, err := c.count(ctx, vip.Query{Collection: d.Collection}, time.Time{})
		if err != nil {
			return err
		}
		c.sum.Elsewhere += n
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(placesAtOnce)
	orgs := map[string]bool{} // an id for each
	reserved := map[string]*Fault{}
	err := c.cfg.Source.Walk(gctx, vip.Query{Collection: vip.CollectionWorkspaces}, workspaceFields, func(_, doc []byte) error {
		w, err := new(vip.Decoder).Workspace(doc)
		if err != nil {
			return err
		}
		c.read(1)
		if jobs.InSandbox(w.OrgID) {
			c.reserve(reserved, w)
		}
		if w.OrgID != "" && !orgs[w.OrgID] {
			orgs[w.OrgID] = true
			c.begin(gctx, g, Place{OrgID: w.OrgID}, false)
		}
		if !w.IsVIP || w.OrgID == "" {
			return gctx.Err()
		}
		channels, err := c.channels(gctx, w)
		for _, id := range channels {
			c.begin(gctx, g, Place{OrgID: w.OrgID, Workspace: w.ID, Channel: id}, true)
		}
		return cmp.Or(err, gctx.Err())
	})
	if first := g.Wait(); first != nil {
		return first // it ended the walk, too
	}
	for _, org := range slices.Sorted(maps.Keys(reserved)) {
		f := *reserved[org]
		c.sum.Faults += f.Documents
		if terr := c.tell(Finding{Place: Place{Dataset: "workspaces", OrgID: org}, Documents: f.Documents, Faults: []Fault{f}, Complete: err == nil}); terr != nil {
			return terr
		}
	}
	c.sum.Elsewhere = max(0, c.sum.Elsewhere) // what was written meanwhile may be in places alone
	return err
}

// reserve notes a workspace of an org whose id is reserved.
func (c *check) reserve(reserved map[string]*Fault, w vip.Workspace) {
	f := reserved[w.OrgID]
	if f == nil {
		f = &Fault{What: SandboxOrg, Field: "orgId"}
		reserved[w.OrgID] = f
	}
	if f.Documents++; len(f.Samples) < c.cfg.Samples {
		f.Samples = append(f.Samples, w.ID)
	}
}

// first is the dataset whose documents are counted as those of a collection.
func (c *check) first(collection string) *dataset.Dataset {
	return c.cfg.Datasets[slices.IndexFunc(c.cfg.Datasets, func(d *dataset.Dataset) bool { return d.Collection == collection })]
}

// begin looks at the datasets of a place, those behind the VIP gate or the others. It waits for a turn.
func (c *check) begin(ctx context.Context, g *errgroup.Group, at Place, vipGate bool) {
	for _, d := range c.cfg.Datasets {
		if d.Gate.VIP() == vipGate {
			at.Dataset = d.Name
			place := at
			g.Go(panics.Task(func() error { return c.place(ctx, d, place) }))
		}
	}
}

// channels are those by which rows of a VIP workspace can be asked for.
func (c *check) channels(ctx context.Context, w vip.Workspace) ([]string, error) {
	listing, err := c.cfg.Source.Channels(ctx, w.OrgID, w.ID, mostChannels)
	if err != nil {
		return nil, err
	}
	c.read(max(1, int64(len(listing))))
	ids := slices.Clone(w.ChannelIDs)
	for _, ch := range listing {
		ids = append(ids, ch.ID)
	}
	slices.Sort(ids)
	var open []string
	for _, id := range slices.Compact(ids) {
		c.read(2)
		switch err := vip.Gate(ctx, c.cfg.Source, w.OrgID, w.ID, id); {
		case err == nil:
			open = append(open, id)
		case !vip.Refused(err):
			return nil, err
		}
	}
	return open, nil
}

// place counts the documents of a dataset in a place, and goes through them where that tells more.
func (c *check) place(ctx context.Context, d *dataset.Dataset, at Place) error {
	q := d.Query(at.OrgID, jobs.Params{dataset.Workspace: at.Workspace, dataset.Medium: at.Channel})
	all, when, err := c.count(ctx, q.Unsorted(), time.Time{})
	if err != nil {
		return err
	}
	sorted, _, err := c.count(ctx, q, when)
	if err != nil {
		return err
	}
	found := newFaults(d, c.cfg.Samples)
	found.counted(NoSortField, all-sorted)
	if d.Window != nil {
		q.To = endOfTime // none but times are before a time
		timed, _, err := c.count(ctx, q, when)
		if err != nil {
			return err
		}
		found.counted(OtherType, sorted-timed)
	}
	complete := true
	if found.wantsWalk() && all > 0 {
		if complete, err = c.walk(ctx, q, found); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Places++
	c.sum.Documents += all
	if d == c.first(d.Collection) {
		c.sum.Elsewhere -= all
	}
	c.whole = c.whole && complete
	f := Finding{Place: at, Documents: all, Faults: found.list(), Complete: complete}
	if len(f.Faults) == 0 {
		return nil
	}
	for _, fault := range f.Faults {
		c.sum.Faults += fault.Documents
	}
	return c.tell(f)
}

// endOfTime is behind every time that Firestore has, but for the last microsecond.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk goes through the documents of a query, and says whether it has seen all that it had to.
func (c *check) walk(ctx context.Context, q vip.Query, found *faults) (complete bool, err error) {
	err = c.cfg.Source.Walk(ctx, q, found.fields(), func(id, doc []byte) error {
		if !c.take() {
			return errEnough
		}
		if err := found.look(id, doc); err != nil {
			return err
		}
		if complete = found.done(); complete {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return complete, nil
	}
	return err == nil, err
}

// take takes one of the documents that may be gone through.
func (c *check) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 {
		return false
	}
	c.left--
	c.sum.Reads++
	return true
}

func (c *check) read(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Reads += n
}

// count counts, which is billed a read per 1,000.
func (c *check) count(ctx context.Context, q vip.Query, at time.Time) (int64, time.Time, error) {
	n, when, err := c.cfg.Source.Count(ctx, q, vip.Range{}, at)
	c.read(max(1, (n+999)/1000))
	return n, when, err
}
