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

// maxPlacesRead bounds the places that a claim looks at. Of an org with more, it looks at as many
// at random; a job that finds none free then is rung again as long as there is one.
const maxPlacesRead = 64

// maxWaiting is how many of the jobs that have waited longest are looked at for one whose next
// attempt is due.
const maxWaiting = 10

func (s *Store) places() *firestore.CollectionRef { return s.client.Collection("ExportPlaces") }

func (s *Store) placeRef(orgID string, number int) *firestore.DocumentRef {
	sum := sha256.Sum256([]byte(orgID)) // an org's name may be none that a document can have
	return s.places().Doc(hex.EncodeToString(sum[:16]) + "-" + strconv.Itoa(number))
}

// placeDoc is a place as it was read. One that does not exist yet is free.
type placeDoc struct {
	place   jobs.Place
	exists  bool
	damaged bool // place is what remains to be believed
	updated time.Time
}

// readPlace reads one. Of a damaged one it believes who has it, if that can be a job: the commit by
// which that job stops running gives the place back, and else the rescuer does.
func (s *Store) readPlace(doc *firestore.DocumentSnapshot, orgID string, number int) placeDoc {
	fresh := jobs.NewPlace(orgID, number)
	if !doc.Exists() {
		return placeDoc{place: *fresh}
	}
	d := placeDoc{exists: true, updated: doc.UpdateTime}
	why := salvage(doc, &d.place)
	if why == "" && (d.place.OrgID != orgID || d.place.Number != number) {
		why = "orgId and number are not those of its id"
	}
	if why == "" && !inShard(doc, fresh.Shard) {
		why = "shard is none"
	}
	if why == "" {
		if err := d.place.Check(s.cfg.Policy, s.cfg.Now()); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		s.damaged(telemetry.PlaceDocument, doc, why)
		if jobs.ValidID(d.place.JobID) {
			fresh.JobID = d.place.JobID
		}
		d.place, d.damaged = *fresh, true // who finds it taken has the rescuer look at it
	}
	return d
}

// groupPlaces are the places of the org of a group's job, as its changes leave them.
type groupPlaces struct {
	ctx context.Context
	s   *Store
	g   *merged
}

// Any gives all that the org has, or maxPlacesRead of them.
func (p groupPlaces) Any() ([]*jobs.Place, error) {
	limit := p.s.cfg.Limits.RunningJobs
	numbers := rand.Perm(limit)[:min(limit, maxPlacesRead)] // not all begin with the first
	for i := range numbers {
		numbers[i]++
	}
	return p.get(numbers)
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
	var refs []*firestore.DocumentRef
	var missing []int
	for _, n := range numbers {
		if _, ok := p.g.places[n]; !ok {
			refs, missing = append(refs, p.s.placeRef(org, n)), append(missing, n)
		}
	}
	if len(refs) > 0 {
		docs, err := p.s.client.GetAll(p.ctx, refs)
		if err != nil {
			return nil, classify(err)
		}
		for i, doc := range docs {
			p.g.places[missing[i]] = p.s.readPlace(doc, org, missing[i])
		}
	}
	out := make([]*jobs.Place, len(numbers))
	for i, n := range numbers {
		place := p.g.places[n].place
		if changed := p.g.changedPlaces[n]; changed != nil {
			place = *changed
		}
		out[i] = &place
	}
	return out, nil
}

// writePlace adds a place to a commit on condition that it is as it was read.
func (s *Store) writePlace(batch *writes, was placeDoc, p *jobs.Place, rev string) {
	p.Rev = rev
	ref := s.placeRef(p.OrgID, p.Number)
	if was.exists {
		batch.Update(ref, fields(p), firestore.LastUpdateTime(was.updated))
		return
	}
	batch.Create(ref, p)
}

// Waiting gives the org's job that has waited longest of those whose next attempt is due, "" if
// none is, and whether any is queued at all.
func (s *Store) Waiting(ctx context.Context, orgID string) (id string, any bool, err error) {
	docs, err := s.jobs().Where("orgId", "==", orgID).Where("state", "==", jobs.Queued).
		OrderBy("createdAt", firestore.Asc).Limit(maxWaiting).Select("notBefore").Documents(ctx).GetAll()
	if err != nil {
		return "", false, fmt.Errorf("ask who waits: %w", classify(err))
	}
	now := s.cfg.Now()
	for _, doc := range docs {
		var j jobs.Job
		if decode(doc, &j) == nil && !now.Before(j.NotBefore) {
			return doc.Ref.ID, true, nil
		}
	}
	return "", len(docs) > 0, nil
}

// WakePlace does what is due for a place and gives the job to ring, "" for none.
func (s *Store) WakePlace(ctx context.Context, d Due) (ring string, err error) {
	err = retry(ctx, func() error {
		ring = ""
		docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{d.ref})
		if err != nil || !docs[0].Exists() {
			return classify(err)
		}
		was := s.readPlace(docs[0], d.org, d.number)
		p := was.place
		if was.damaged { // its wakeAt was read by the query
			p.Wanted, p.WakeAt = true, s.cfg.Now().Add(-time.Second)
		}
		held, err := s.inPlace(ctx, p)
		if err != nil {
			return err
		}
		id, waiting, err := s.Waiting(ctx, p.OrgID)
		if err != nil {
			return err
		}
		if p.Wake(s.cfg.Now().UTC().Truncate(time.Microsecond), s.cfg.Policy, held, waiting) {
			ring = id
		}
		batch, rev := s.newWrites(), jobs.NewToken()
		s.writePlace(batch, was, &p, rev)
		return commit(ctx, batch, s.carries(d.ref, rev))
	})
	if err != nil {
		return "", fmt.Errorf("wake place %d: %w", d.number, err)
	}
	return ring, nil
}

// inPlace reports whether the job that has a place runs in it.
func (s *Store) inPlace(ctx context.Context, p jobs.Place) (bool, error) {
	if !jobs.ValidID(p.JobID) {
		return false, nil
	}
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.jobs().Doc(p.JobID)})
	if err != nil || !docs[0].Exists() {
		return false, classify(err)
	}
	j := decodeJob(docs[0])
	return j.State == jobs.Running && j.Place == p.Number, nil
}
