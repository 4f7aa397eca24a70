# fish reads this at the first tab behind fws-pipe: then all fws commands are completed.
fws-pipe --completion fish | source
