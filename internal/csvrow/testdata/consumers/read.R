# As read.mjs, by read.table as R has it.
args <- commandArgs(trailingOnly = TRUE)
rows <- read.table(args[2], sep = args[3], header = FALSE, quote = "\"", colClasses = "character", na.strings = NULL, comment.char = "",
  encoding = "UTF-8", fileEncoding = if (args[5] == "utf-16") "UTF-16" else "UTF-8-BOM")
hex <- function(cell) paste(charToRaw(enc2utf8(cell)), collapse = "")
cells <- vapply(as.matrix(rows), hex, "")
dim(cells) <- dim(rows)
writeLines(apply(cells, 1, paste, collapse = ","))
