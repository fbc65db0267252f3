package vip

// header is what a text takes in memory beside its bytes.
const header = 16

// Size is about how many bytes a workspace takes in memory, or in an answer if that is more: a byte becomes
// up to six in JSON.
func (w *Workspace) Size() int { return textSize(w.ID, w.OrgID, w.Name) + textSize(w.ChannelIDs...) }

// Size is as Workspace.Size.
func (c *Channel) Size() int {
	return textSize(c.ID, c.OrgID, c.Name, c.Platform) + textSize(c.WorkspaceIDs...)
}

func textSize(texts ...string) (n int) {
	for _, s := range texts {
		n += header + len(s)
		for i := range len(s) {
			switch c := s[i]; {
			case c < ' ':
				n += len(`\u0000`) - 1
			case c == '"' || c == '\\':
				n++
			}
		}
	}
	return n
}
