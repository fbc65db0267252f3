package simulate

import "time"

// Limit is a bound that Google documents, as it stands without a request for more.
type Limit struct {
	What   string
	Value  float64
	Unit   string
	Source string
}

// The limits that are compared with. Those of Firestore marked soft are no error at once: beyond them
// latencies rise and commits contend.
var (
	limitDocument = Limit{"writes of one document, sustained (soft)", 1, "writes/s",
		"cloud.google.com/firestore/quotas (until 2021), firestore/docs/best-practices"}
	limitRange = Limit{"writes to a collection with sequential values in an indexed field (soft)", 500, "writes/s",
		"cloud.google.com/firestore/quotas, soft limits"}
	limitStreams = Limit{"calls at once on a connection", 100, "streams",
		"googleapis/google-cloud-java#3514; docs.cloud.google.com: HTTP/2 streams of Google's front end"}
	limitRequest      = Limit{"size of a request", 10 << 20, "bytes", "cloud.google.com/firestore/quotas"}
	limitObjectWrites = Limit{"object writes of a bucket, before it has scaled up", 1_000, "requests/s",
		"cloud.google.com/storage/docs/request-rate"}
	limitObjectReads = Limit{"object reads and lists of a bucket, before it has scaled up", 5_000, "requests/s",
		"cloud.google.com/storage/docs/request-rate"}
	limitPublish = Limit{"published, in a small region", 50e6, "bytes/s", "cloud.google.com/pubsub/quotas: 3,000,000 kB a minute"}
	limitPull    = Limit{"pulled, in a small region", 50e6, "bytes/s", "cloud.google.com/pubsub/quotas: 3,000,000 kB a minute"}
	limitSign    = Limit{"signatures of a project", 60_000, "requests/min", "cloud.google.com/iam/quotas: generate credentials"}
)

// Limits lists them.
func Limits() []Limit {
	return []Limit{limitDocument, limitRange, limitStreams, limitRequest, limitObjectWrites, limitObjectReads, limitPublish, limitPull, limitSign}
}

// messageBytes is the least that Pub/Sub counts and bills for a message.
const messageBytes = 1_000

// Price is what Google charges for one of something.
type Price struct {
	What   string
	USD    float64 // for Per of them
	Per    float64
	Source string
}

// The prices, in USD of us-central1 beyond the free quota.
var (
	priceRead    = Price{"Firestore document read", 0.03, 100_000, "cloud.google.com/firestore/pricing"}
	priceWrite   = Price{"Firestore document write", 0.09, 100_000, "cloud.google.com/firestore/pricing"}
	priceDelete  = Price{"Firestore document delete", 0.01, 100_000, "cloud.google.com/firestore/pricing"}
	priceMessage = Price{"Pub/Sub throughput", 40, 1 << 40 / messageBytes, "cloud.google.com/pubsub/pricing: 40 USD/TiB, at least 1 kB a message and request"}
	priceClassA  = Price{"Storage class A operation (upload, compose, list)", 0.005, 1_000, "cloud.google.com/storage/pricing: Standard, regional"}
	priceClassB  = Price{"Storage class B operation (attributes)", 0.0004, 1_000, "cloud.google.com/storage/pricing: Standard, regional"}
	priceStored  = Price{"Storage of a file, GiB and month", 0.020, 1, "cloud.google.com/storage/pricing: Standard, us-central1"}
)

// Prices lists them.
func Prices() []Price {
	return []Price{priceRead, priceWrite, priceDelete, priceMessage, priceClassA, priceClassB, priceStored}
}

func (p Price) of(n int64) float64 { return p.USD * float64(n) / p.Per }

// USD is what is charged for so many reads and writes of documents, and messages or requests of Pub/Sub.
func USD(reads, writes, messages int64) float64 {
	return priceRead.of(reads) + priceWrite.of(writes) + priceMessage.of(messages)
}

// Cost is what the services charge, without processors, memory and what leaves the region.
type Cost struct {
	Rows     float64 // reads of the rows themselves
	Overhead float64 // everything else
}

// costOf prices a scenario. Deletes of objects and signatures are free.
func costOf(r *Result) Cost {
	n := r.Totals
	rows := priceRead.of(n["Firestore reads of rows"])
	messages := n["Pub/Sub messages published"] + n["Pub/Sub messages delivered"]
	return Cost{
		Rows: rows,
		Overhead: priceRead.of(n["Firestore reads"]) - rows + priceWrite.of(n["Firestore writes"]) + priceDelete.of(n["Firestore deletes"]) +
			priceMessage.of(messages) +
			priceClassA.of(n["Storage objects written"]+n["Storage objects composed"]+n["Storage lists"]) + priceClassB.of(n["Storage objects looked at"]),
	}
}

// day is the overhead at the scenario's pace for 24 hours.
func (c Cost) day(took time.Duration) float64 {
	return c.Overhead * float64(24*time.Hour) / float64(took)
}
