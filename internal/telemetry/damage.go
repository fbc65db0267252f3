package telemetry

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// DocumentKind is what a document of exportd's is: a label of a metric, so the set is closed.
type DocumentKind string

// The kinds that are read.
const (
	JobDocument         DocumentKind = "job"
	PartDocument        DocumentKind = "part"
	EventDocument       DocumentKind = "event"
	CallbackDocument    DocumentKind = "callback"
	BatchDocument       DocumentKind = "batch"
	FingerprintDocument DocumentKind = "fingerprint"
	IdempotencyDocument DocumentKind = "idempotency"
	LeaseDocument       DocumentKind = "lease"
	PlaceDocument       DocumentKind = "place"
	ReceiverDocument    DocumentKind = "receiver"
	KeyDocument         DocumentKind = "key"
	RollupDocument      DocumentKind = "rollup"
	CauseDocument       DocumentKind = "cause"
	AuditDocument       DocumentKind = "audit"
	LinksDocument       DocumentKind = "links"
	DownloadDocument    DocumentKind = "download"
	BudgetDocument      DocumentKind = "budget"
)

// DocumentKinds lists them.
var DocumentKinds = []DocumentKind{
	JobDocument, PartDocument, EventDocument, CallbackDocument, BatchDocument, FingerprintDocument, IdempotencyDocument,
	LeaseDocument, PlaceDocument, ReceiverDocument, KeyDocument, RollupDocument, CauseDocument, AuditDocument, LinksDocument, DownloadDocument, BudgetDocument,
}

// maxRemembered bounds the documents that are known to be damaged, at 8 bytes each; of more, the oldest half
// is told again.
const maxRemembered = 20_000

// Damage tells of documents that make no sense and are passed over: one line in the log and one count for
// each, however often it is read. It is a prometheus.Collector; a nil *Damage tells nobody. Safe for
// concurrent use.
type Damage struct {
	log   *zap.Logger
	count *prometheus.CounterVec
	seed  maphash.Seed

	mu        sync.Mutex
	told, old map[uint64]struct{} // versions of documents; old is asked too, and dropped when told is full
}

// NewDamage makes a Damage that writes to log.
func NewDamage(log *zap.Logger) *Damage {
	d := &Damage{log: log, seed: maphash.MakeSeed(), told: map[uint64]struct{}{}, count: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "exportd_damaged_documents_total", Help: "Documents found that make no sense, each version once, by their kind.",
	}, []string{"kind"})}
	for _, kind := range DocumentKinds {
		d.count.WithLabelValues(string(kind))
	}
	return d
}

// Note is told of each read of a damaged document, as it was written at changed. why must quote no value.
func (d *Damage) Note(kind DocumentKind, document string, changed time.Time, why string) {
	if d == nil || !d.first(document, changed) {
		return
	}
	d.count.WithLabelValues(string(kind)).Inc()
	d.log.Warn("a damaged document is passed over or ended", zap.String("kind", string(kind)), zap.String("document", document), zap.String("why", why))
}

// Told has a document that stays damaged through a write of exportd's own not be told of again.
func (d *Damage) Told(document string, changed time.Time) {
	if d != nil {
		d.first(document, changed)
	}
}

func (d *Damage) first(document string, changed time.Time) bool {
	id := maphash.Comparable(d.seed, struct {
		document string
		changed  int64
	}{document, changed.UnixNano()})
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.told[id]; ok {
		return false
	}
	if _, ok := d.old[id]; ok {
		return false
	}
	if len(d.told) == maxRemembered/2 {
		d.old, d.told = d.told, make(map[uint64]struct{}, maxRemembered/2)
	}
	d.told[id] = struct{}{}
	return true
}

// Describe is of prometheus.Collector.
func (d *Damage) Describe(ch chan<- *prometheus.Desc) { d.count.Describe(ch) }

// Collect is of prometheus.Collector.
func (d *Damage) Collect(ch chan<- prometheus.Metric) { d.count.Collect(ch) }
