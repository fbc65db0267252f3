package fsstore

import (
	"encoding/binary"
	"sync"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	// maxCoveredBody is the largest body that a covering index repeats; longer ones are fetched from the
	// document, where the fetch is the lesser cost.
	maxCoveredBody = 4 << 10
	// maxCachedFields bounds the cache of field nodes, since maps with generated keys can name any number of
	// fields.
	maxCachedFields = 50_000
)

// catalog knows which physical indexes a document has entries in. One physical index serves an order and its
// reversal, so a field indexed both ascending and descending has one entry.
type catalog struct {
	config *fsindex.Config

	mu     sync.RWMutex
	groups map[groupID]*groupIndexes
	nodes  int
}

type groupIndexes struct {
	composites []physical
	root       node
}

// node holds the single-field indexes of one field and of its subfields.
type node struct {
	path     fsvalue.FieldPath
	order    []physical // at most one per scope
	contains []physical
	children map[string]*node
}

type physical struct {
	id     uint64
	scope  fsindex.Scope
	fields []fsindex.Field
	name   fsvalue.Direction
	covers bool
	label  string // for people
}

func newCatalog(c *fsindex.Config) *catalog {
	return &catalog{config: c, groups: map[groupID]*groupIndexes{}}
}

// physicalIndex maps an index of the configuration to the one that is stored.
func physicalIndex(db uint32, ix *fsindex.Index) physical {
	p := physical{scope: ix.Scope, fields: ix.Fields, name: ix.Name}
	if len(ix.Fields) == 1 && ix.Fields[0].Kind == fsindex.Descending {
		p.fields = []fsindex.Field{{Path: ix.Fields[0].Path, Kind: fsindex.Ascending}}
		p.name = ix.Name.Reverse()
	}
	canon := fsindex.Index{Group: ix.Group, Scope: ix.Scope, Fields: p.fields, Name: p.name}
	p.label = canon.Key()
	p.id = indexID(db, p.label)
	p.covers = covering(p.fields)
	return p
}

// covering tells whether an index has a twin whose entries repeat the document's body: composite indexes do
// unless they have an entry per array element. A scan of the twin reads one run of keys, where it would
// otherwise fetch one document per row from anywhere on the disk, at three to five times the cost; two twins
// add an eighth to the cost of a message's load. Counts and merges read the lean entries. Documents that were
// changed since they were made, and long ones, have twins without a body and are fetched.
func covering(fields []fsindex.Field) bool {
	if len(fields) < 2 {
		return false
	}
	for _, f := range fields {
		if f.Kind != fsindex.Ascending && f.Kind != fsindex.Descending {
			return false
		}
	}
	return true
}

// Index is a stored index as scans see it.
type Index struct {
	Prefix []byte // of all its entries, up to and including the collection
	// Reverse tells that the index asked for is the reversal of the stored one.
	Reverse bool
}

// IndexPrefix returns how to scan ix for the documents directly in collection (ignored for collection
// groups). The stored form of a descending single-field index is the ascending one. With bodies the entries
// carry documents if the index has such entries; see EntryName.
func (s *Store) IndexPrefix(db uint32, ix *fsindex.Index, collection fsvalue.Path, bodies bool) Index {
	p := physicalIndex(db, ix)
	prefix := p.prefix(nil, collection)
	if bodies && p.covers {
		prefix[0] = spaceCovering
	}
	return Index{
		Prefix:  prefix,
		Reverse: len(ix.Fields) == 1 && ix.Fields[0].Kind == fsindex.Descending,
	}
}

func (p *physical) prefix(dst []byte, collection fsvalue.Path) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, spaceIndex), p.id)
	if p.scope == fsindex.Collection {
		dst = fsvalue.AppendPath(dst, collection, fsvalue.Ascending)
	}
	return dst
}

// direction of an index component in its key.
func direction(k fsindex.Kind) fsvalue.Direction {
	if k == fsindex.Descending {
		return fsvalue.Descending
	}
	return fsvalue.Ascending
}

func (c *catalog) group(g groupID) *groupIndexes {
	c.mu.RLock()
	gi := c.groups[g]
	c.mu.RUnlock()
	if gi != nil {
		return gi
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if gi := c.groups[g]; gi != nil {
		return gi
	}
	if len(c.groups) >= maxCachedFields {
		clear(c.groups)
	}
	gi = &groupIndexes{}
	composites := c.config.Composites(g.group)
	for i := range composites {
		if hasVector(&composites[i]) {
			continue // nearest neighbours are found by scanning
		}
		// An index and its reversal are one.
		if p := physicalIndex(g.db, &composites[i]); !hasID(gi.composites, p.id) {
			gi.composites = append(gi.composites, p)
		}
	}
	c.groups[g] = gi
	return gi
}

func hasVector(ix *fsindex.Index) bool {
	for _, f := range ix.Fields {
		if f.Kind == fsindex.Vector {
			return true
		}
	}
	return false
}

// child returns the node of a field below parent.
func (c *catalog) child(g groupID, parent *node, name string) *node {
	c.mu.RLock()
	n := parent.children[name]
	c.mu.RUnlock()
	if n != nil {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := parent.children[name]; n != nil {
		return n
	}
	path := append(append(make(fsvalue.FieldPath, 0, len(parent.path)+1), parent.path...), name)
	n = &node{path: path}
	singles := c.config.Singles(g.group, path)
	for i := range singles {
		p := physicalIndex(g.db, &singles[i])
		list := &n.order
		if p.fields[0].Kind == fsindex.Contains {
			list = &n.contains
		}
		if !hasID(*list, p.id) {
			*list = append(*list, p)
		}
	}
	if c.nodes >= maxCachedFields {
		return n // not cached: the next document asks again
	}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[name] = n
	c.nodes++
	return n
}

func hasID(list []physical, id uint64) bool {
	for i := range list {
		if list[i].id == id {
			return true
		}
	}
	return false
}
