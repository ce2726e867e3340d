from .logger import *
from .meters import *
from .registry import *
from .tools import *
from .torchtools import *
