package fsstore

import (
	"encoding/binary"
	"hash/fnv"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// The first byte of a key names its keyspace. Documents, groups and index entries hold the present only; what
// a commit supersedes moves to history.
const (
	spaceDocument = 'D' // database, collection path, end, document id
	spaceGroup    = 'G' // database, collection id, document path
	spaceIndex    = 'I' // index id, [collection path, end,] values, name
	spaceCovering = 'J' // the same, with the document's body in the value
	spaceHistory  = 'h' // bucket, one of the keys above, instant of the end
	spaceMeta     = 'M'
)

// Every value of the three hot keyspaces begins with the instant from which it holds, so that a reader of an
// older instant can skip it without decoding.
const (
	fromBytes        = 8
	documentHeader   = 2 * fromBytes // update, create
	entryHeader      = fromBytes + 2 // from, name length and flag
	entryHasBody     = 1 << 15       // a document body follows the entry's header
	historyKeyPrefix = 1 + 8         // space, bucket
	historyKeySuffix = 8             // instant of the end
)

// DocumentPrefix is the common prefix of the documents directly in a collection; what follows it in a key is
// the document id as a string component.
func DocumentPrefix(dst []byte, db uint32, collection fsvalue.Path) []byte {
	dst = databasePrefix(dst, spaceDocument, db)
	return fsvalue.AppendPath(dst, collection, fsvalue.Ascending)
}

// DocumentsBeneath is the common prefix of everything at and beneath a document or collection path.
func DocumentsBeneath(dst []byte, db uint32, p fsvalue.Path) []byte {
	dst = databasePrefix(dst, spaceDocument, db)
	return fsvalue.AppendPathPrefix(dst, p)
}

// DocumentKey is the key of one document.
func DocumentKey(dst []byte, db uint32, p fsvalue.Path) []byte {
	return fsvalue.AppendString(DocumentPrefix(dst, db, p.Parent()), p.ID())
}

// GroupPrefix is the common prefix of a collection group; what follows is the path of a document.
func GroupPrefix(dst []byte, db uint32, group string) []byte {
	return fsvalue.AppendString(databasePrefix(dst, spaceGroup, db), group)
}

func groupKey(dst []byte, db uint32, p fsvalue.Path) []byte {
	return fsvalue.AppendPath(GroupPrefix(dst, db, p.CollectionID()), p, fsvalue.Ascending)
}

func databasePrefix(dst []byte, space byte, db uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, space), db)
}

// indexID names a physical index by what it holds. 64 bits keep the chance of two among a thousand indexes
// meeting below 1e-13.
func indexID(db uint32, spec string) uint64 {
	h := fnv.New64a()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], db)
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(spec))
	return h.Sum64()
}

func historyPrefix(dst []byte, bucket int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, spaceHistory), uint64(bucket))
}

func historyKey(dst []byte, bucket int64, key []byte, to int64) []byte {
	dst = append(historyPrefix(dst, bucket), key...)
	return binary.BigEndian.AppendUint64(dst, uint64(to))
}

func putInstant(dst []byte, t int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(t)) }
func instant(b []byte) int64                { return int64(binary.BigEndian.Uint64(b)) }
