package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// maxPlacesRead bounds the places that a claim looks at, of jobs.PlaceTurns documents each. Of an org with
// more, it looks at as many at random; a job that finds none free then is notified again as long as there is
// one.
const maxPlacesRead = 32

// maxPaused is how many jobs whose next attempt is not due yet are passed over to find those that have waited
// longest.
const maxPaused = 10

func (s *Store) places() *firestore.CollectionRef { return s.client.Collection("ExportPlaces") }

func (s *Store) placeRef(orgID string, number, slot int) *firestore.DocumentRef {
	sum := sha256.Sum256([]byte(orgID)) // an org's name may be none that a document can have
	id := hex.EncodeToString(sum[:16]) + "-" + strconv.Itoa(number)
	if slot > 0 {
		id += "-" + strconv.Itoa(slot)
	}
	return s.places().Doc(id)
}

func (s *Store) placeRefs(orgID string, number int) (refs []*firestore.DocumentRef) {
	for slot := range jobs.PlaceTurns {
		refs = append(refs, s.placeRef(orgID, number, slot))
	}
	return refs
}

// placeDocs are a place's documents as they were read, by slot.
type placeDocs [jobs.PlaceTurns]placeDoc

// placeDoc is one of them.
type placeDoc struct {
	place   *jobs.Place // nil if it does not exist
	exists  bool
	damaged bool        // place is what remains to be believed
	rest    *jobs.Place // that, without its turn
	updated time.Time
}

// readPlace reads a place. Of a damaged document it believes who has the place, if that can be a job: the
// commit by which that job stops running gives it back, and else the rescuer does.
func (s *Store) readPlace(docs []*firestore.DocumentSnapshot, orgID string, number int) (out placeDocs) {
	last := int64(-1)
	for slot, doc := range docs {
		if out[slot] = s.readPlaceDoc(doc, orgID, number, slot); out[slot].place != nil {
			last = max(last, out[slot].place.Turn)
		}
	}
	for slot, d := range out {
		if d.damaged && d.place == nil {
			d.rest.TakeTurnAfter(last, slot)
			out[slot].place, last = d.rest, d.rest.Turn
		}
	}
	return out
}

func (s *Store) readPlaceDoc(doc *firestore.DocumentSnapshot, orgID string, number, slot int) (d placeDoc) {
	if !doc.Exists() {
		return d
	}
	var p jobs.Place
	d.exists, d.updated = true, doc.UpdateTime
	why := salvage(doc, &p)
	if why == "" && (p.OrgID != orgID || p.Number != number || p.Slot() != slot) {
		why = "orgId, number and turn are not those of its id"
	}
	if why == "" && !inShard(doc, jobs.NewPlace(orgID, number).Shard) {
		why = "shard is none"
	}
	if why == "" {
		if err := p.Check(s.cfg.Policy, s.cfg.Now()); err != nil {
			why = err.Error()
		}
	}
	if why == "" {
		d.place = &p
		return d
	}
	s.damaged(telemetry.PlaceDocument, doc, why)
	d.damaged, d.rest = true, jobs.DamagedPlace(orgID, number, p.JobID)
	return d
}

// newest gives the place as it stands. One of which nothing is there is free.
func (d *placeDocs) newest(orgID string, number int) jobs.Place {
	var all []*jobs.Place
	for _, doc := range d {
		all = append(all, doc.place)
	}
	if p := jobs.Newest(all); p != nil {
		return *p
	}
	return *jobs.NewPlace(orgID, number)
}

// groupPlaces are the places of the org of a group's job, as its changes leave them.
type groupPlaces struct {
	s    *Store
	g    *group
	want *wanted
}

// Any gives n of those that the org has, maxPlacesRead at most.
func (p groupPlaces) Any(n int) ([]*jobs.Place, error) {
	if p.g.order == nil { // not all begin with the first
		p.g.order = rand.Perm(p.s.cfg.Limits.Of(p.g.job.OrgID).RunningJobs)
		for i := range p.g.order {
			p.g.order[i]++
		}
	}
	return p.get(p.g.order[:min(n, len(p.g.order), maxPlacesRead)])
}

// Get gives one.
func (p groupPlaces) Get(number int) (*jobs.Place, error) {
	got, err := p.get([]int{number})
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

func (p groupPlaces) get(numbers []int) ([]*jobs.Place, error) {
	org := p.g.job.OrgID
	for _, n := range numbers {
		if _, ok := p.g.places[n]; !ok {
			p.want.places = append(p.want.places, n)
		}
	}
	if p.want.any() {
		return nil, jobs.ErrUnread
	}
	out := make([]*jobs.Place, len(numbers))
	for i, n := range numbers {
		read := p.g.places[n]
		place := read.newest(org, n)
		for _, changed := range p.g.changedPlaces {
			if changed.Number == n && changed.Turn >= place.Turn {
				place = *changed
			}
		}
		out[i] = &place
	}
	return out, nil
}

// Next gives the jobs that have waited longest, as they were when the group first asked.
func (p groupPlaces) Next() ([]string, error) {
	if p.g.next == nil {
		p.want.next = true
		return nil, jobs.ErrUnread
	}
	return p.g.next, nil
}

// placeKey names a document of the org's places.
type placeKey struct{ number, slot int }

// writePlace adds a document of a place to a commit on condition that it is as it was read.
func (s *Store) writePlace(batch *writes, was placeDoc, p *jobs.Place, rev string) {
	p.Rev = rev
	ref := s.placeRef(p.OrgID, p.Number, p.Slot())
	if was.exists {
		batch.Update(ref, fields(p), firestore.LastUpdateTime(was.updated))
		return
	}
	batch.Create(ref, p)
}

// Next gives those of the org's queued jobs that have waited longest, as many as it has places free, one at
// least: of those whose next attempt is due and that this build reads. Mostly none waits, which is one read.
func (s *Store) Next(ctx context.Context, orgID string) ([]string, error) {
	if docs, err := s.inState(orgID, jobs.Queued).Limit(1).Select().Documents(ctx).GetAll(); err != nil || len(docs) == 0 {
		return nil, cannotAsk(err)
	}
	return s.next(ctx, orgID)
}

// next is Next where a job is known to wait. It counts before it asks who waits: one that is claimed in
// between then lets one more have a try, and never one too few.
func (s *Store) next(ctx context.Context, orgID string) ([]string, error) {
	running, err := s.count(ctx, s.jobs().Where("orgId", "==", orgID).Where("state", "==", jobs.Running))
	if err != nil {
		return nil, cannotAsk(err)
	}
	free := min(max(1, s.cfg.Limits.Of(orgID).RunningJobs-int(running)), maxPlacesRead)
	var next []string
	for _, look := range []int{free, free + maxPaused} {
		docs, err := s.inState(orgID, jobs.Queued).Limit(look).Select("notBefore").Documents(ctx).GetAll()
		if err != nil {
			return nil, cannotAsk(err)
		}
		next = s.ready(docs)
		if len(next) >= free || len(docs) < look {
			break
		}
	}
	return next[:min(free, len(next))], nil
}

func cannotAsk(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ask who waits: %w", classify(err))
}

// ready names the queued jobs whose next attempt is due.
func (s *Store) ready(docs []*firestore.DocumentSnapshot) (ids []string) {
	now := s.cfg.Now()
	for _, doc := range docs {
		var j jobs.Job
		if decode(doc, &j) == nil && !now.Before(j.NotBefore) {
			ids = append(ids, doc.Ref.ID)
		}
	}
	return ids
}

// anyQueued reports whether a job of the org is queued, of whatever version: if of another build, that one is
// to find the place wanted.
func (s *Store) anyQueued(ctx context.Context, orgID string) (bool, error) {
	docs, err := s.jobs().Where("orgId", "==", orgID).Where("state", "==", jobs.Queued).Limit(1).Select().Documents(ctx).GetAll()
	return len(docs) > 0, cannotAsk(err)
}

// WakePlace does what is due for a place and gives the jobs to notify.
func (s *Store) WakePlace(ctx context.Context, d jobs.Due) (notify []string, err error) {
	err = retry(ctx, func() error {
		notify = nil
		docs, err := s.client.GetAll(ctx, s.placeRefs(d.Place.OrgID, d.Place.Number))
		if err != nil {
			return classify(err)
		}
		was := s.readPlace(docs, d.Place.OrgID, d.Place.Number)
		p := was.newest(d.Place.OrgID, d.Place.Number)
		if ref := s.placeRef(d.Place.OrgID, d.Place.Number, p.Slot()); relative(ref) != d.Key {
			return s.Retire(ctx, d) // of a turn that is over
		}
		if was[p.Slot()].damaged { // its wakeAt was read by the query
			p.WakeNow(s.cfg.Now())
		}
		held, err := s.inPlace(ctx, p)
		if err != nil {
			return err
		}
		next, err := s.Next(ctx, p.OrgID)
		waiting := len(next) > 0
		if err == nil && !waiting {
			waiting, err = s.anyQueued(ctx, p.OrgID)
		}
		if err != nil {
			return err
		}
		if p.Wake(s.cfg.Now().UTC().Truncate(time.Microsecond), s.cfg.Policy, held, waiting) {
			notify = next
		}
		batch, rev := s.newWrites(), jobs.NewToken()
		s.writePlace(batch, was[p.Slot()], &p, rev)
		return s.commit(ctx, batch, s.hasRev(s.client.Doc(d.Key), rev))
	})
	if err != nil {
		return nil, fmt.Errorf("wake place %d: %w", d.Place.Number, err)
	}
	return notify, nil
}

// inPlace reports whether the job that has a place runs in it. One that no build at work knows does not: it
// runs beside its org's others when such a build is back.
func (s *Store) inPlace(ctx context.Context, p jobs.Place) (bool, error) {
	if !jobs.ValidID(p.JobID) {
		return false, nil
	}
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.jobs().Doc(p.JobID)})
	if err != nil || !docs[0].Exists() {
		return false, classify(err)
	}
	j := decodeJob(docs[0])
	return j.State == jobs.Running && j.Place == p.Number && !j.Abandoned(s.cfg.Now()), nil
}
