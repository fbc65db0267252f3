package fsvalue

// Limits on documents, from the product's quota page.
const (
	MaxDocumentBytes  = 1 << 20               // by DocumentSize
	MaxValueBytes     = MaxDocumentBytes - 89 // one value
	MaxFieldNameBytes = 1500
	MaxDepth          = 20   // nesting of maps and arrays
	MaxDimensions     = 2048 // of a vector
)

// PrepareDocument checks what is about to be stored at p and normalises it in
// place (timestamps are rounded down to microseconds). The error is an
// INVALID_ARGUMENT status naming the rule broken.
func PrepareDocument(p Path, fields map[string]*Value) error { return nil }

// PrepareValue does the same for a single value such as a transform's operand
// or a query's operand. Size is not checked.
func PrepareValue(v *Value) error { return nil }

// Size returns the bytes the name counts for in limits.
func (p Path) Size() int { return 0 }

// ValueSize returns the bytes v counts for in limits.
func ValueSize(v *Value) int { return 0 }

// DocumentSize returns the bytes of a whole document by the documented formula.
func DocumentSize(p Path, fields map[string]*Value) int { return 0 }
